"""Synthetic birds, with known truth."""
