"""Allow-lists of hosts: what a rule is, and what it covers. Pure.

A rule is `api.example.org` (its ports 80 and 443), `api.example.org:8443` (that port alone), `*.example.org` (every
host below it, not itself), or `*` (every host). `[::1]:8080` is written with brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PORTS = {"http": 80, "https": 443}
ANY = "*"
HOST_RULE = "write a host like api.example.org, *.example.org or api.example.org:8443; * is every public host"
_RULE = re.compile(
    r"(?P<below>\*\.)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)(?::(?P<port>\d{1,5}))?"
)
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)(?::(?P<port>[0-9]{1,5}))?(?=[/?#]|$)",
    re.IGNORECASE,
)
_MOST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, as a parser of addresses has read it."""

    scheme: str
    host: str
    """Lower case, ASCII, an IPv6 address without brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"


def target_of(address: str) -> Target | None:
    """Where an address leads that an author wrote out, or None if that cannot be told at once."""
    found = _ADDRESS.match(address)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else PORTS[found["scheme"].lower()]
    return Target(found["scheme"].lower(), found["host"].lower().strip("[]"), port) if 0 < port <= _MOST_PORT else None


def is_rule(text: str) -> bool:
    """Whether this is a rule at all."""
    if text == ANY:
        return True
    found = _RULE.fullmatch(text)
    return found is not None and (found["port"] is None or 0 < int(found["port"]) <= _MOST_PORT)


def has_port(rule: str) -> bool:
    """Whether the rule names one port and one host."""
    found = _RULE.fullmatch(rule)
    return found is not None and found["port"] is not None and found["below"] is None


def covers(rules: Iterable[str], target: Target) -> bool:
    """Whether one of the rules lets this target be reached."""
    return any(_covers(rule, target) for rule in rules)


def _covers(rule: str, target: Target) -> bool:
    if rule == ANY:
        return target.port in PORTS.values()
    found = _RULE.fullmatch(rule)
    if found is None or not _port_fits(found["port"], target.port):
        return False
    host = found["host"].strip("[]")
    return target.host.endswith(f".{host}") if found["below"] else target.host == host


def _port_fits(rule: str | None, port: int) -> bool:
    return port in PORTS.values() if rule is None else port == int(rule)
