"""Spectrograms with detections, and the page that sums up a run."""
