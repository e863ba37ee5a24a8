"""Whether a text is an address of Postgres, asked before anybody connects: libpq quotes what it cannot read."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict


def is_address(dsn: str) -> bool:
    """False also where a character of the password, such as `@` or `/`, is not escaped and so ends it too early."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return False
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "")
    return ("@" not in host or host.startswith(("/", "@"))) and port.replace(",", "").isdecimal() is bool(port)
