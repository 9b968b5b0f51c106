"""Fuzzing of the readers of bytes that others wrote. Run with `make fuzz` or `python -m fuzz`; see CONTRIBUTING.md."""
