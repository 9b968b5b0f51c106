"""Metrics and confidence intervals, with NumPy only."""
