"""The built-in models: where they come from, and how they become bundles."""
