"""What people type wrongly, and machines lack: each is told with what to do and an exit code, never as a traceback."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.acceptance.shop import GRAPH, Shop, open_for_business, opened
from vertebra.services import ports

FAILED, USAGE, NEEDS_PERSON, UNREACHABLE = 1, 2, 3, 4
MAIL = "email=a@example.com"

_HEAD = "graph: {name}\nversion: 1.0.0\nnodes:\n"
BROKEN = {
    "aliases": (_HEAD + "  a: &a {{type: rules, default: {{x: {{value: 1}}}}}}\n  b: *a\n", ":4:", "anchor"),
    "duplicate": (_HEAD + "  a: {{type: rules}}\n  a: {{type: rules}}\n", ":5:", "stands already in line 4"),
    "tabs": (_HEAD + "\ta: {{type: rules}}\n", ":4:", "tab"),
    "deep": (_HEAD + "  a: " + "[" * 300 + "]" * 300 + "\n", ":4:", "deep"),
    "huge": ("# " + "x" * 10_000_000 + "\n", "huge.yaml", "large"),
    "types": (_HEAD + "  a: {{type: rules, max_visits: many}}\n", ":4:", "max_visits"),
    "names": (_HEAD + "  a: {{type: rulez}}\n", ":4:", "'rules'"),
}
"""Graph files: text, where, and a word of what is said."""

STARTS = {
    "a field that is missing": ((GRAPH, "-i", "ticket=hello"), "email"),
    "a field that does not exist": ((GRAPH, "-i", "ticket=a", "-i", "emial=b"), "'email'"),
    "a text that is too long": ((GRAPH, "-i", "ticket=" + "x" * 8001, "-i", MAIL), "8000"),
    "a file that is not there": ((GRAPH, "-i", "@nowhere.jsonl"), "nowhere.jsonl"),
    "neither pair nor file": ((GRAPH, "-i", "hello"), "'hello' is no input"),
    "an unknown graph": (("custommer-support", "-i", MAIL), "customer-support"),
    "an unknown version": ((f"{GRAPH}@9.9.9", "-i", MAIL), "9.9.9"),
    "an unknown file": (("graphs/nothing.yaml", "-i", MAIL), "nothing.yaml"),
}
"""Starts: words, and a part of what is said."""

NAMED = {
    "show": ("show", "nothing"),
    "runs show": ("runs", "show", "nothing"),
    "runs watch": ("runs", "watch", "nothing"),
    "runs result": ("runs", "result", "nothing"),
    "resume": ("resume", "nothing"),
    "cancel": ("cancel", "nothing"),
    "retry": ("retry", "nothing", "draft"),
    "top-up": ("budgets", "top-up", "nothing", "--tokens", "1"),
    "contexts": ("contexts", "renew", "nothing", "--for", "1h"),
    "trace": ("audit", "trace", "nothing"),
    "verify": ("audit", "verify", "nothing"),
    "approvals show": ("approvals", "show", "nothing"),
    "approve": ("approve", "nothing"),
}
"""Commands about things that there are not."""


def test_every_broken_graph_is_told_with_its_line(closed_shop: Shop) -> None:
    """`vertebra check` tells all mistakes of all files at once, each with file, line and what to do."""
    for name, (text, _, _) in BROKEN.items():
        (closed_shop.folder / f"graphs/{name}.yaml").write_text(text.format(name=name))

    found = closed_shop("check")

    assert FAILED == found.code
    for name, (_, where, what) in BROKEN.items():
        told = [line for line in (found.out + found.err).splitlines() if f"{name}.yaml" in line]
        assert any(where in line and what in line for line in told), (name, told)
    for name in BROKEN:
        (closed_shop.folder / f"graphs/{name}.yaml").unlink()


@pytest.mark.parametrize("verb", ["publish", "run", "show"])
def test_a_broken_graph_is_not_used(closed_shop: Shop, verb: str) -> None:
    """Nor published, nor run, nor shown: the same complaint, with 1."""
    (closed_shop.folder / "graphs/bad.yaml").write_text(BROKEN["names"][0].format(name="bad"))

    found = closed_shop(verb, "graphs/bad.yaml")

    assert FAILED == found.code
    assert "graphs/bad.yaml:4:" in found.err
    (closed_shop.folder / "graphs/bad.yaml").unlink()


@pytest.mark.server
@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_cannot_be(shop: Shop, case: str) -> None:
    """It is refused before anything is started, naming what is wrong."""
    words, told = STARTS[case]

    found = shop("run", *words, "--json")

    assert USAGE == found.code, found.err
    assert told in found.err
    assert "" == found.out


@pytest.mark.server
def test_one_bad_line_of_many(shop: Shop, tickets: Path) -> None:
    """A file whose third line is broken starts nothing, and the line is named."""
    lines = tickets.read_text().split("\n")
    (shop.folder / "third.jsonl").write_text("\n".join([*lines[:2], '{"ticket": NaN}', *lines[3:]]))
    before = len(shop("runs", "list", "--json").rows())

    found = shop("run", GRAPH, "--input", "@third.jsonl")

    assert USAGE == found.code
    assert "third.jsonl:3" in found.err
    assert before == len(shop("runs", "list", "--json").rows())


@pytest.mark.server
@pytest.mark.parametrize("case", NAMED)
def test_what_there_is_not(shop: Shop, case: str) -> None:
    """An unknown run or approval is named, with the command that lists what there is."""
    found = shop(*NAMED[case])

    assert USAGE == found.code, found.err
    assert "nothing" in found.err
    assert "vertebra " in found.err or "published are: customer-support" in found.err


@pytest.mark.server
def test_decisions_that_do_not_count(shop: Shop) -> None:
    """By somebody not assigned, about other bytes, with arguments that the tool refuses, twice: each is refused."""
    ticket = {"ticket": "A cracked hopper again (order 7002, $249.00). Pay me back.", "email": "ben@example.com"}
    (shop.folder / "one.json").write_text(json.dumps(ticket))
    started = shop("run", GRAPH, "-i", "@one.json", "--json")
    [run] = [str(row["run"]) for row in started.rows("runs")]
    approval = shop.waiting(run)

    refused = {
        "cleo": shop("approve", approval, "--as", "cleo"),
        "backup": shop("approve", approval, "--as", "bo"),
        "nobody": shop("approve", approval, "--as", "nobody"),
        "digest": shop("approve", approval, "--as", "ada", "--digest", "sha256:" + "0" * 64),
        "edit": shop("approve", approval, "--as", "ada", "--set", "to=x"),
        "field": shop("approve", approval, "--as", "ada", "--set", "bcc=me@example.com"),
    }
    first = shop("approve", approval, "--as", "ada")
    again = shop("deny", approval, "--as", "ada")

    assert NEEDS_PERSON == started.code
    assert [FAILED, FAILED, USAGE, FAILED, USAGE, USAGE] == [found.code for found in refused.values()], refused
    assert "support_lead" in refused["cleo"].err
    assert "escalated" in refused["backup"].err
    assert "ada" in refused["nobody"].err
    assert (0, FAILED) == (first.code, again.code)
    assert "was decided already: 'ada' said 'approve'" in again.err or "is approved" in again.err
    assert 0 == shop("runs", "watch", run).code


@pytest.mark.server
def test_an_answer_that_comes_too_late(shop: Shop) -> None:
    """The expired question is refused by name; its node is blocked and asks anew after `vertebra retry`."""
    started = shop("run", "hasty", "-i", "text=How was it?", "--json")
    [run] = [str(row["run"]) for row in started.rows("runs")]
    _until(shop, run, "blocked")
    [asked] = _questions(shop, run)

    late = shop("approve", asked, "--answer", "grade=5", "--as", "ada")
    retried = shop("retry", run, "ask")
    _until_asked(shop, run, 2)

    assert FAILED == late.code
    assert "expired" in late.err
    assert 0 == retried.code
    assert 0 == shop("abort", run, "--reason", "no answer").code


@pytest.mark.server
def test_an_answer_that_does_not_fit(shop: Shop) -> None:
    """A field that the form's check refuses is named, and the question stays open."""
    started = shop("run", "question", "-i", "text=How was it?", "--json")
    [run] = [str(row["run"]) for row in started.rows("runs")]
    asked = shop.waiting(run)

    wrong = shop("approve", asked, "--answer", "grade=6", "--as", "ada")

    assert USAGE == wrong.code, wrong.err
    assert "grade" in wrong.err
    assert asked == shop.waiting(run)
    assert 0 == shop("abort", run, "--reason", "no answer").code


@pytest.mark.server
def test_a_second_dev_in_the_folder(shop: Shop) -> None:
    """It names the first one's pid and leaves it alone."""
    found = shop("dev")

    assert USAGE == found.code
    assert f"pid {shop.services.pid}" in found.err


def test_nothing_runs_here(closed_shop: Shop, tmp_path: Path) -> None:
    """Without services, with services that are away, and outside of a project: 2, 4 and 2, with what to do."""
    nothing = closed_shop("runs", "list")
    away = closed_shop("runs", "list", VERTEBRA_API_DSN="postgresql://vertebra_api@127.0.0.1:1/vertebra")
    outside = Shop(tmp_path, closed_shop.env)("runs", "list")

    assert [USAGE, UNREACHABLE, USAGE] == [nothing.code, away.code, outside.code]
    assert "vertebra dev" in nothing.err
    assert "Postgres cannot be reached" in away.err
    assert "vertebra.toml" in outside.err


def test_a_setting_that_does_not_exist(closed_shop: Shop) -> None:
    """A misspelt variable stops the command and names the right one."""
    found = closed_shop("runs", "list", VERTEBRA_TEMPORAL_ADRESS="127.0.0.1:7233")

    assert USAGE == found.code
    assert "VERTEBRA_TEMPORAL_ADDRESS" in found.err


def test_no_temporal_no_go_no_network(closed_shop: Shop, tmp_path: Path) -> None:
    """`vertebra dev` says what it tried and what to install; nothing runs then."""
    env = {name: value for name, value in closed_shop.env.items() if name != "VERTEBRA_TEMPORAL_CLI"}
    nowhere = "http://127.0.0.1:1"

    found = Shop(closed_shop.folder, env)(
        "dev", PATH="/usr/sbin", XDG_CACHE_HOME=str(tmp_path), HTTPS_PROXY=nowhere, https_proxy=nowhere
    )

    assert USAGE == found.code
    assert "there is no `temporal` program on this machine" in found.err
    assert "install Go 1.25" in found.err
    assert not (closed_shop.folder / ".vertebra/services.json").exists()


@pytest.mark.server
def test_ports_in_use_and_no_sandbox(clean_environment: None, tmp_path: Path) -> None:
    """`vertebra dev` takes other ports; without a sandbox code is refused with the reason, and the run goes on."""
    other = opened(tmp_path / "other")
    ticket = (other.folder / "tickets.jsonl").read_text().split("\n")[6]
    (other.folder / "sum.json").write_text(ticket)
    sandbox = {"VERTEBRA_SANDBOX_PYTHON": "/nowhere/python3"}
    with ExitStack() as held:
        for port in (ports.USUAL.postgres, ports.USUAL.temporal, ports.USUAL.temporal_ui):
            with suppress(OSError):  # somebody holds it
                held.enter_context(socket.create_server((ports.LOOPBACK, port)))
        held.enter_context(open_for_business(other, **sandbox))
        done = other("run", GRAPH, "-i", "@sum.json", "--json", **sandbox)
        [run] = [str(row["run"]) for row in done.rows("runs")]
        trace = other("audit", "trace", run)
        doctor = other("doctor")

    assert 0 == done.code, done.err
    assert "/nowhere/python3" in trace.out
    assert 0 == doctor.code
    assert f":{ports.USUAL.temporal}" not in doctor.out


def _until(shop: Shop, run: str, state: str) -> None:
    deadline = time.monotonic() + 90
    while state != (now := shop.show(run)["state"]):
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


def _questions(shop: Shop, run: str) -> list[str]:
    """All that the run has asked so far, also what has expired since."""
    rows = shop.show(run)["approvals"]
    assert isinstance(rows, list)
    return [str(row["id"]) for row in rows if isinstance(row, dict)]


def _until_asked(shop: Shop, run: str, number: int) -> None:
    deadline = time.monotonic() + 90
    while number > (now := len(_questions(shop, run))):
        assert time.monotonic() < deadline, now
        time.sleep(0.2)
