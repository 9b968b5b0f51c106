"""Evaluation of models on labeled recordings: scores, metrics, calibration, thresholds and comparisons."""
