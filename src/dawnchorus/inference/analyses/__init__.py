"""Analyses of recordings (of samples, windows or model outputs), one module for each."""
