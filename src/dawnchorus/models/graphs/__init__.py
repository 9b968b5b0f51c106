"""Graphs of models: reading, wrapping, merging, ensembles, precision."""
