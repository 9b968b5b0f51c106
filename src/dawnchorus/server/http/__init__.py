"""The HTTP interface of the server: application, routes, HTML pages, authentication, errors and uploads."""
