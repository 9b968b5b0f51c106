"""Model graphs: reading, wrapping, merging, ensembles, precision."""
