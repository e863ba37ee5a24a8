"""Versioned changes of the schema, run by `vertebra.store.migrate` from package data."""
