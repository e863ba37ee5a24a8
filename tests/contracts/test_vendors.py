"""The contract of model vendors: every case at every vendor, on our own server and on an imitation of the vendors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.vendors.cases import CASES, IMITATED, IMITATIONS, Case, pairs, table
from tests.contracts.vendors.imitation import NotInstalled, found, install
from tests.contracts.vendors.rigs import Rig
from vertebra.providers.errors import MEANINGS, RULES


@pytest.mark.parametrize(
    ("rig", "case"), pairs(), indirect=["rig"], ids=[f"{rig}: {case.name}" for rig, case in pairs()]
)
async def test_a_vendor_keeps_the_contract(
    rig: Rig, case: Case, passed: set[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    """One promise of one vendor's adapter holds."""
    await case.prove(rig)

    passed.add((request.node.callspec.params["rig"], case.name))


@pytest.mark.parametrize("ask", [found, install])
def test_an_old_node_is_told_as_such(
    ask: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 12 has such a one: its cases are not run, for a reason, and are no failures."""
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.20.4\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotInstalled, match=r"not run: node v18\.20\.4 is too old; install 20"):
        ask()


def test_the_table_shows_what_was_passed(
    passed: set[tuple[str, str]], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every pair of vendor and case that the page shows as passed was passed just now, or says that it was not run."""
    asked = [item for item in request.session.items if "test_a_vendor_keeps_the_contract" in item.name]
    if len(asked) < len(pairs()):
        pytest.skip("not run: only some cases were asked for")
    expected = {(rig, case.name) for rig, case in pairs()}
    without = {pair for pair in expected if pair[0] in IMITATIONS} - passed

    with capsys.disabled():
        sys.stdout.write(f"\n{table(passed)}")

    assert expected - without == passed
    if without:
        pytest.skip(f"not run: {len(without)} cases on {IMITATED}")


def test_the_page_shows_the_table(vendors_page: str) -> None:
    """docs/vendors.md has exactly the table that this suite proves."""
    assert table((rig, case.name) for rig, case in pairs()) in vendors_page
    assert len(CASES) == len({case.name for case in CASES})


def test_the_page_shows_the_map_of_errors(vendors_page: str) -> None:
    """docs/vendors.md has each kind with what follows from it, and each rule that leads to it, in their order."""
    kinds = [
        f"| `{kind}` | {'yes' if m.retryable else 'no'} | {'yes' if m.counts else 'no'} | {m.delay} | {m.do} |"
        for kind, m in MEANINGS.items()
    ]
    rules = [
        f"| {_span(rule.statuses)} | {', '.join(f'`{word}`' for word in rule.words) or 'any'} |"
        f" {f'`{_cell(rule.says)}`' if rule.says else 'anything'} | `{rule.kind}` |"
        for rule in RULES
    ]

    for lines in (kinds, rules):
        assert "\n".join(lines) + "\n" in vendors_page


def _span(statuses: tuple[int, ...]) -> str:
    if len(statuses) > 5:
        return f"{statuses[0]} to {statuses[-1]}"
    return ", ".join(map(str, statuses)) or "any"


def _cell(pattern: str) -> str:
    """A pattern inside a table, where a bar would begin the next cell."""
    return pattern.replace("|", "\\|")
