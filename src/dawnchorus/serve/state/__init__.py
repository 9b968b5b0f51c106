"""What a server remembers: rows in a database, and files by their content."""
