"""Layouts of other people's data sets: one module for each, which gives rows without the facts that need the sound."""
