"""Species names and label sets."""
