"""Robustness metrics: change of the map with small changes of the input or the baseline."""
