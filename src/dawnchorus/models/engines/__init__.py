"""Inference engines: one file for each library that runs graphs."""
