"""Training: model families, the trainer, tuning and retraining."""
