"""Our numerical engine for path integrals: torch only."""
