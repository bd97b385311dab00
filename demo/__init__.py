"""The whole chain on one machine: a driver double, a synthetic fault, a real training process."""
