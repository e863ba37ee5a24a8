"""The pure run engine: the same events give the same state and the same commands, anywhere."""
