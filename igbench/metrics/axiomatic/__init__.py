"""Axiomatic metrics: completeness, dummy, linearity, invariance, and the error of the integral."""
