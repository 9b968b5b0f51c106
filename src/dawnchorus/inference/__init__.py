"""Scoring of recordings: preparation, windows, models."""
