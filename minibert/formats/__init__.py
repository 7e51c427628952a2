"""Foreign checkpoint formats: one table of names and one reader each."""
