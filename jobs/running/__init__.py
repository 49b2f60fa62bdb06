"""On the node: from the claim of a cell to its records."""
