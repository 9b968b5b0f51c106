"""Data sets of recordings for training and testing."""
