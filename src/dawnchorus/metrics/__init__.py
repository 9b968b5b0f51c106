"""Metrics and their intervals, with NumPy alone."""
