"""From risk to action: policy, incidents, signed delivery, schedulers."""
