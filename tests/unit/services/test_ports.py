"""Free ports."""

from __future__ import annotations

import socket
from dataclasses import astuple, replace

from vertebra.services import ports


def _listener() -> socket.socket:
    server = socket.create_server((ports.LOOPBACK, 0))
    server.listen()
    return server


def test_the_usual_port_is_taken_where_nobody_holds_it() -> None:
    """A free usual port is the one chosen."""
    with _listener() as server:
        usual: int = server.getsockname()[1]

    assert usual == ports.pick(usual)


def test_another_port_where_somebody_listens() -> None:
    """A port in use is never chosen, and the kernel gives another."""
    with _listener() as server:
        usual: int = server.getsockname()[1]

        chosen = ports.pick(usual)

        assert usual != chosen
        assert ports.is_free(chosen)
        assert not ports.is_free(usual)


def test_the_ports_differ() -> None:
    """Four services get four ports, even where their usual ports are one."""
    with _listener() as server:
        usual: int = server.getsockname()[1]

        chosen = ports.choose(ports.Ports(usual, usual, usual, usual))

    assert 4 == len(set(astuple(chosen)))


def test_a_port_that_somebody_took_meanwhile_is_noticed() -> None:
    """After a failed start, one port of four in foreign hands is enough to choose again."""
    free = ports.choose(ports.Ports(0, 0, 0, 0))
    with _listener() as server:
        taken: int = server.getsockname()[1]

        assert replace(free, temporal=taken).any_taken()

    assert not free.any_taken()
