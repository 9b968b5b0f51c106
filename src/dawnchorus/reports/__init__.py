"""HTML pages of runs, data sets and evaluations."""
