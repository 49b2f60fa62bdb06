"""From the text of a manifest to cells, with every problem named by line and column."""
