"""What prediction is worth: effective training time, in formulas and in simulation with the production policy."""
