"""Formats of detection tables, one module for each."""
