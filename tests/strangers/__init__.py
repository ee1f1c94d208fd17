"""Models, data and settings of strangers: unharmed, with the right numbers, or refused."""
