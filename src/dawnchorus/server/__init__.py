"""The server: web pages and HTTP API."""
