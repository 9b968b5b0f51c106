"""Routes of the server: one module for each kind of object in the API, and one for each group of HTML pages."""
