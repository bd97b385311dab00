"""`foreshock top`: the fleet in a terminal."""
