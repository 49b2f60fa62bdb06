"""Examining a machine, giving up what was wrong, and freeing what is not needed."""
