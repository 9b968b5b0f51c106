"""How good a model is, in numbers that a paper can print."""
