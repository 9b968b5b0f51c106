"""Reading and writing files, by path or URL."""
