"""Data sets of recordings: import, checks, splits, and the cutting of clips for training."""
