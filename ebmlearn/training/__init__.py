"""Training: one recipe, one file; what they share is in `state`."""
