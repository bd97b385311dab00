"""From the stream to the lake: rollups, features and the one door to storage."""
