"""The incidents page."""
