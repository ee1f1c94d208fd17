"""Faithfulness metrics: agreement of a map with the effect of changing features."""
