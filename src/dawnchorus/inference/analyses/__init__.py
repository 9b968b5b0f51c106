"""Analyses: one file for each thing that is computed of a recording."""
