"""The only place that opens sound: probing, decoding in blocks, one mono rule, one resampler, windows."""
