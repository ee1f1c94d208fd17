"""Randomisation metrics: maps of random weights (MPRT) and of other classes (random logit)."""
