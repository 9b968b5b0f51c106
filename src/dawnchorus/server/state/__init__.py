"""State of a server: rows in a database, and files by their content."""
