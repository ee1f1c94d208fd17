"""Concepts: vectors of activations, and the test of their influence on a class (TCAV)."""
