"""The laptop's supervisor: Postgres and Temporal as children that live and die with it."""
