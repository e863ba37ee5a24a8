"""Where code that nobody has read runs: one level works and is proved by its probe, or such tools are refused."""
