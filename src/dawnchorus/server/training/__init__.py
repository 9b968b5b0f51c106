"""Training data from uploads and reviews, and retraining of models on the server."""
