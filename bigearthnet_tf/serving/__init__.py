"""Finished models, for others to use."""
