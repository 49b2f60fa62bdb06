"""One self-contained HTML page about a study: what it found, and how far that can be believed."""
