"""What everything computes with: scores, batches, features, randomness, models and data."""
