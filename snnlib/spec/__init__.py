"""The vocabulary of experiments: frozen dataclasses and Literals, importable without torch."""
