"""Recordings to learn and test from."""
