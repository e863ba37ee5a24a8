"""How long vertebra takes, and what it costs the server, beside the same workflow written by hand: `make bench`."""
