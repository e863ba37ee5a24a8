"""Postgres: the rows, who may touch them, and the two round trips in which the gate reads and writes them."""
