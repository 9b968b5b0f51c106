"""Sources of recordings on the web."""
