"""`--json` of every command that reads: one document on standard output, with keys that programs may rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.shell import Shell
from tests.integration.runs.waits import waiting
from vertebra.schemas.canonical import Json

pytestmark = [pytest.mark.server]

RUN = """run graph version graph_digest state principal started_by correlation_id epoch started_at ended_at
    cost_microusd held_microusd limit_microusd tokens held_tokens limit_tokens error output path calls waits
    approvals"""
FOLLOWED = "run state approvals blocked cost_microusd tokens started_at ended_at error"
APPROVAL = """id run graph version node visit kind subject round state digest request arguments assign backup
    escalate_after expires_at decisions"""
READS = {
    "check": "file ok complaints graph version digest",
    "doctor": "checks settings",
    "publish customer-support --dry-run": "graph version digest outcome",
    "show customer-support": "digest graph",
    "show graphs/customer-support.yaml": "digest graph",
    "show RUN": RUN,
    "runs show RUN": RUN,
    "runs list": "run state graph version principal cost_microusd tokens approvals started_at ended_at error",
    "runs watch RUN": "runs",
    "approvals list": """id run graph node visit kind subject digest assign backup at escalate_after expires_at
        decided""",
    "approvals show APPROVAL": APPROVAL,
    "budgets show RUN": """run on_breach limit_microusd spent_microusd held_microusd left_microusd limit_tokens
        spent_tokens held_tokens left_tokens""",
    "contexts list RUN": "id parent agent depth state until grant",
    "people list": "name roles service signer key enrolled_by enrolled_at revoked_at",
    "audit trace RUN": "stream seq entry",
    "audit verify RUN": "ok streams entries macs_checked findings",
    "audit export RUN --out FILE": "file lines",
}
TICKET = {
    "ticket": "My Grind 60 (order 6033, $249.00) arrived with a cracked hopper.",
    "email": "p@example.org",
}


@pytest.fixture(scope="module")
async def asked(shell: Shell) -> tuple[str, str]:
    """A run that waits for an approval, and the approval."""
    handle = await shell.stage.start(shell.stage.support, TICKET)
    wait = await waiting(handle.id, shell.stage, "approval")
    return handle.id, str(wait["ref"])


@pytest.mark.parametrize("words", READS)
async def test_a_read_gives_one_document(
    shell: Shell, asked: tuple[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is on standard output, and the keys are these: more may come, none may go."""
    monkeypatch.chdir(shell.project)
    real = {"RUN": asked[0], "APPROVAL": asked[1], "FILE": str(tmp_path / "audit.jsonl")}

    said = await shell.call(*(real.get(word, word) for word in words.split()), "--json")

    assert said.code == (3 if "watch" in words else 0), said
    found = said.json
    first = found[0] if isinstance(found, list) else found
    assert isinstance(first, dict)
    assert set(READS[words].split()) <= set(first), set(READS[words].split()) - set(first)


async def test_a_run_and_its_result_are_documents(shell: Shell) -> None:
    """`run` gives every run it started, and `runs result` the output itself."""
    given = ("-i", "ticket=Hello, when will my parcel arrive?", "-i", "email=mia@example.com")

    said = await shell.done("run", "customer-support", *given, "--json")

    runs = said.fields["runs"]
    assert isinstance(runs, list)
    [found] = runs
    assert isinstance(found, dict)
    assert set(FOLLOWED.split()) == set(found)
    result: Json = (await shell.done("runs", "result", str(found["run"]), "--json")).json
    assert isinstance(result, dict)
    assert "answered" == result["status"]


async def test_an_error_gives_no_document(shell: Shell) -> None:
    """What fails before there is an answer says so on standard error alone."""
    for words in ("show no-such-run", "runs result no-such-run", "approvals show NONE", "contexts list no-such-run"):
        said = await shell.call(*words.split(), "--json")
        assert (2, "") == (said.code, said.out), said
        assert said.err.startswith("error: ")


async def test_an_export_is_lines_or_a_new_file(shell: Shell, asked: tuple[str, str], tmp_path: Path) -> None:
    """Lines are no document, so `--json` needs a file; a file that is there is left as it is."""
    file = tmp_path / "audit.jsonl"
    file.write_text("mine")

    assert 2 == (await shell.call("audit", "export", asked[0], "--json")).code
    assert 1 == (await shell.call("audit", "export", asked[0], "--out", str(file))).code

    assert "mine" == file.read_text()
    assert (await shell.done("audit", "export", asked[0])).out.startswith("{")
