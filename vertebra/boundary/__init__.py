"""Guarded ways out and in: strict readers of JSON and YAML, the CEL child, child processes."""
