"""Runs that survive: shards, checkpoints, reuse of rows, executors."""
