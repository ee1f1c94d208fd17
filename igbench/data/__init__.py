"""Data factories: one file for each family."""
