"""Compose configurations and build the objects that they describe."""
