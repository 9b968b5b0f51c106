"""Layouts of data sets of others, one module for each."""
