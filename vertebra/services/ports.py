"""Free ports: the usual one where nobody holds it, else one from the kernel."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """The ports that the services listen on, all on loopback."""

    postgres: int
    temporal: int
    temporal_ui: int
    temporal_metrics: int

    def any_taken(self) -> bool:
        """Whether another process holds one of them: asked when a server did not start, and says why as it likes."""
        return not all(map(is_free, (self.postgres, self.temporal, self.temporal_ui, self.temporal_metrics)))


USUAL = Ports(postgres=54329, temporal=7233, temporal_ui=8233, temporal_metrics=9233)
ANY = Ports(postgres=0, temporal=0, temporal_ui=0, temporal_metrics=0)


def choose(usual: Ports = USUAL) -> Ports:
    """Four different ports that are free now. Another process may still be faster: then choose again."""
    taken: set[int] = set()
    return Ports(
        postgres=_pick(usual.postgres, taken),
        temporal=_pick(usual.temporal, taken),
        temporal_ui=_pick(usual.temporal_ui, taken),
        temporal_metrics=_pick(usual.temporal_metrics, taken),
    )


def pick(usual: int, taken: Collection[int] = ()) -> int:
    """`usual` if it is free, else (and for 0) a port from the kernel that is not among `taken`."""
    if usual and usual not in taken and is_free(usual):
        return usual
    while True:
        port = _from_kernel()
        if port not in taken:
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: a port whose last connections linger in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def _pick(usual: int, taken: set[int]) -> int:
    port = pick(usual, taken)
    taken.add(port)
    return port


def _from_kernel() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
