"""Plots: spectrograms with detections, waveforms, curves."""
