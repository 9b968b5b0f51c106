"""The built-in models: their sources, and their conversion to bundles."""
