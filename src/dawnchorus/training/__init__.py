"""Training: families of networks, training runs, hyperparameter search and retraining."""
