"""`vertebra demo`: what vertebra promises, shown on real servers by the commands that a person would type."""
