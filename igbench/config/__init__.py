"""From configuration files to objects."""
