"""The archive: a kept store of results on Delta Lake, into which many processes write, and its queries."""
