"""The effective-time page."""
