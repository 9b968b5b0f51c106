"""Synthetic recordings of bird songs with known annotations, for tests and demonstrations."""
