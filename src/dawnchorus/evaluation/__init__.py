"""Evaluation of models, with figures for publication."""
