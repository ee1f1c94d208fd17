"""Model factories: one file for each family."""
