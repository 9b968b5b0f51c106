"""Analyses of recordings, one module for each."""
