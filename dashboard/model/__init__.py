"""The model's page."""
