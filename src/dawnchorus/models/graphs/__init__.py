"""ONNX and TFLite graphs of models: reading, wrapping, merging, ensembles, precision."""
