"""Scoring of recordings with models: cleaning, cutting into windows, inference and analyses of the outputs."""
