"""The HTTP interface: routes, pages, authentication."""
