"""State of a server: rows in a database, and files in a store."""
