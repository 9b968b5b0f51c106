"""Bundles (a model on disk), the built-in models, and running a bundle."""
