"""Readers of data sets in other layouts (folders, tables, annotation files), one module per layout."""
