"""Figures for papers: one column wide, readable in grey and without colour vision."""
