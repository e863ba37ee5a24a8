"""The first ten tickets of the template, as a user runs, decides and looks at them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.shop import GRAPH, Said, Shop

pytestmark = pytest.mark.server


@pytest.fixture(scope="session")
def followed(shop: Shop) -> Said:
    """What `vertebra run` said of ten tickets."""
    lines = (shop.folder / "tickets.jsonl").read_text(encoding="utf-8").split("\n")
    (shop.folder / "ten.jsonl").write_text("\n".join(lines[:10]), encoding="utf-8")
    return shop("run", GRAPH, "--input", "@ten.jsonl", "--json")


def test_all_tickets_at_once(followed: Said) -> None:
    """Eight are answered, one waits for an approval and one for budget, so the command ends with 3."""
    states = Counter(run["state"] for run in followed.rows("runs"))

    assert {"completed": 8, "awaiting_human": 1, "over_budget": 1} == states
    assert 3 == followed.code


def test_the_refund_is_approved_as_shown(shop: Shop, followed: Said) -> None:
    """What is shown names the mail's final arguments, and the printed command sends exactly that mail, once."""
    [run] = [str(row["run"]) for row in followed.rows("runs") if row["state"] == "awaiting_human"]
    approval = shop.waiting(run)

    shown = shop("approvals", "show", approval)
    [command] = [line.split() for line in shown.out.splitlines() if line.startswith("vertebra approve")]
    decided = shop(*command[1:], "--as", "ada")
    watched = shop("runs", "watch", run, "--json")

    assert "priya@example.org" in shown.out
    assert 0 == decided.code == watched.code
    assert {"status": "answered"}.items() <= _output(shop, run).items()
    assert 4 == len(shop.sales(run)) == len(set(shop.sales(run)))


def test_the_budget_is_topped_up(shop: Shop, followed: Said) -> None:
    """A run over its budget goes on after a top-up, and buys nothing twice."""
    [run] = [str(row["run"]) for row in followed.rows("runs") if row["state"] == "over_budget"]

    topped = shop("budgets", "top-up", run, "--tokens", "40000", "--as", "cleo")
    watched = shop("runs", "watch", run, "--json")

    assert 0 == topped.code == watched.code
    assert len(shop.sales(run)) == len(set(shop.sales(run)))


def test_the_record_verifies(shop: Shop, followed: Said, tmp_path: Path) -> None:
    """Every stream is whole; an export verifies too, and names the entry that somebody has changed."""
    run = str(followed.rows("runs")[0]["run"])
    file = tmp_path / "audit.jsonl"

    assert True is shop("audit", "verify", "--json").field("ok")
    assert 0 == shop("audit", "export", run, "--out", str(file)).code
    assert 0 == shop("audit", "verify", "--file", str(file)).code
    file.write_text(file.read_text().replace("mia@example.com", "eve@example.com", 1))
    changed = shop("audit", "verify", "--file", str(file), "--json")

    assert 1 == changed.code
    assert [(run, 1)] == [(row["stream"], row["seq"]) for row in changed.rows("findings")]


def test_an_ended_run_is_shown(shop: Shop, followed: Said) -> None:
    """The path with its visits, the calls, the cost; the result as JSON."""
    run = next(row["run"] for row in followed.rows("runs") if row["state"] == "completed")

    shown = shop("show", str(run))
    result = shop("runs", "result", str(run), "--json")

    assert "path      classify" in shown.out
    assert 0 == shown.code == result.code
    assert result.field("status") in ("answered", "open")


def _output(shop: Shop, run: str) -> dict[str, object]:
    value = shop("runs", "result", run, "--json").plain
    assert isinstance(value, dict)
    return dict(value)
