"""Bundles (models on disk), built-in models, and inference sessions."""
