"""Readers of data sets in foreign layouts (folders, tables, annotation files), one module per layout."""
