"""The ops dashboard. It reads the lake and never scores."""
