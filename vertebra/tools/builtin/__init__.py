"""vertebra's own tools, one file each; the registry finds every `Tool` in here."""
