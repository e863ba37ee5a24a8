"""The audit chain: what is written beside every effect, how it is sealed, and how a reader checks it."""
