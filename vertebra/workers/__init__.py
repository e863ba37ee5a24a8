"""Where the parts meet: worker processes, the gate around every effect, and the keeper's background duties."""
