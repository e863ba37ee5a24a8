"""What a worker is made of by its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import reply, serving
from vertebra.activities.watch import SILENT, Watch
from vertebra.boundary.egress import Ask
from vertebra.schemas.errors import HttpFailed
from vertebra.settings import load
from vertebra.workers.main import egress_of, pool_of


class Heard(Watch):
    """Remembers the round trips that it is told of."""

    def __init__(self) -> None:
        self.trips: list[tuple[str, float]] = []

    def trip(self, transaction: str, seconds: float) -> None:
        self.trips.append((transaction, seconds))


async def test_the_operator_says_how_large_an_answer_may_be(tmp_path: Path) -> None:
    """What the worker sends requests with cuts a body at the setting, and takes one of exactly that size."""
    (tmp_path / "vertebra.toml").write_text("")
    sizes = iter((5000, 5001))

    async with serving(lambda asked: reply(body=b"x" * next(sizes))) as heard:
        here = f"127.0.0.1:{heard.port}"
        environ = {"EGRESS_MAX_BODY_BYTES": "5000", "EGRESS_HOSTS": here, "EGRESS_INSIDE": here}
        environ |= {"EGRESS_INSIDE_IS_UNSAFE": "true", "GATE_DSN": "postgresql://elsewhere/d"}
        settings = load(tmp_path, {f"VERTEBRA_{name}": value for name, value in environ.items()}).settings
        ask = Ask(method="GET", address=f"http://{here}/", headers={})
        async with egress_of(settings) as out:
            whole = await out.send(ask, within=[here])
            with pytest.raises(HttpFailed, match="more than 5000 bytes"):
                await out.send(ask, within=[here])

    assert 5000 == len(whole.body)


def test_it_is_a_megabyte_by_default(tmp_path: Path) -> None:
    """As before there was a setting."""
    (tmp_path / "vertebra.toml").write_text("")

    assert 1_000_000 == load(tmp_path, {}).settings.egress_max_body_bytes


async def test_whoever_counts_is_told_of_round_trips(tmp_path: Path) -> None:
    """Where nobody does, no clock is read."""
    (tmp_path / "vertebra.toml").write_text("")
    settings = load(tmp_path, {"VERTEBRA_GATE_DSN": "postgresql://elsewhere/d"}).settings
    heard = Heard()

    counted, silent = pool_of(settings, heard), pool_of(settings, SILENT)

    assert counted.told is not None
    counted.told("load", 0.5)
    assert [("load", 0.5)] == heard.trips
    assert silent.told is None
