"""Stored runs, statistics and comparison; needs no torch."""
