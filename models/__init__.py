"""Scorers: from a row of features to a calibrated, explained risk."""
