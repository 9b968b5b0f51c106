"""Recognition over HTTP."""
