"""The sub-commands: each takes the parsed arguments and a console, and returns an exit code."""
