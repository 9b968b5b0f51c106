"""Training data from clients, and retraining."""
