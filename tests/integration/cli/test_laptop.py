"""The product as a user meets it: one `vertebra dev`, and commands in other processes beside it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from temporalio.client import Client

from vertebra.schemas.canonical import Json
from vertebra.services.state import Services, find_services

pytestmark = pytest.mark.server
READY_S = 180
QUESTION = ("-i", "ticket=Hello, when will my parcel arrive?", "-i", "email=mia@example.com")
TAXED = """
graph: taxed
version: 1.0.0
input: {net: {type: integer, required: true}}
output: {gross: {type: integer, from: add.gross}}
spine: {permissions: [execute_tools], tools: [add_tax], expires_in: 1h}
nodes:
  add: {type: tool, tool: add_tax, args: {net: input.net}}
"""
TAX = """
from typing import TypedDict
from vertebra.tools.contract import tool

class Gross(TypedDict):
    gross: int

@tool(effect="pure")
def add_tax(net: int) -> Gross:
    'Add the tax.'
    return {"gross": net * 119}
"""
REFUND = ("-i", "ticket=My Grind 60 (order 6033, $249.00) arrived with a cracked hopper.", "-i", "email=p@example.org")


@dataclass(frozen=True)
class Said:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        value: Json = json.loads(self.out)
        return value


@dataclass(frozen=True)
class Laptop:
    """A project folder with everything running."""

    project: Path

    def call(self, *words: str) -> Said:
        """One command, as a process of its own."""
        argv = [sys.executable, "-m", "vertebra.cli.main", "--project", str(self.project), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180, cwd=self.project)
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def run(self, *words: str) -> dict[str, Json]:
        """Start one run and follow it; how it stands."""
        value = self.call("run", "customer-support", *words, "--json").json
        assert isinstance(value, dict)
        assert isinstance(value["runs"], list)
        [found] = value["runs"]
        assert isinstance(found, dict)
        return found

    def pending(self) -> tuple[str, str]:
        """A run that waits for an approval, and the approval."""
        found = self.run(*REFUND)
        assert "awaiting_human" == found["state"], found
        assert isinstance(found["approvals"], list)
        return str(found["run"]), str(found["approvals"][0])

    @property
    def log(self) -> str:
        """What `vertebra dev` has said so far."""
        return (self.project.parent / "dev.log").read_text(encoding="utf-8")

    def edit(self, file: str, text: str, says: str) -> str:
        """Write a file of the project; the line that `vertebra dev` says about it."""
        before, whole = len(self.log), self.project.parent / "edited"
        whole.write_text(text, encoding="utf-8")
        whole.replace(self.project / file)  # `vertebra dev` may look at any moment, also at half a file
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lines = [line for line in self.log[before:].split("\n")[:-1] if line.startswith(says)]
            if lines:
                return lines[0]
            time.sleep(0.1)
        raise AssertionError(f"dev never said {says!r}: {self.log[before:]}")

    @property
    def services(self) -> Services:
        found = find_services(self.project)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """`vertebra init`, then `vertebra dev`; at the end Ctrl-C to that very process."""
    project = tmp_path_factory.mktemp("laptop") / "shop"
    made = Laptop(project)
    subprocess.run([sys.executable, "-m", "vertebra.cli.main", "init", str(project)], check=True, capture_output=True)
    argv = [sys.executable, "-m", "vertebra.cli.main", "--project", str(project), "dev"]
    with (project.parent / "dev.log").open("w+") as log:
        dev = subprocess.Popen(argv, stdout=log, stderr=log, cwd=project, env=dict(os.environ))
        try:
            _until_up(dev, project.parent / "dev.log")
            yield made
        finally:
            dev.send_signal(signal.SIGINT)
            assert 0 == dev.wait(120)
    assert find_services(project) is None


def _until_up(dev: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while "vertebra is up" not in log.read_text():
        assert dev.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_a_question_is_answered(laptop: Laptop) -> None:
    """From the command line that `dev` proposes to a result, with the path in the run's picture."""
    assert "vertebra run customer-support --input" in laptop.log
    found = laptop.run(*QUESTION)

    assert ("completed", None) == (found["state"], found["error"])
    shown = laptop.call("show", str(found["run"])).out
    assert "classify -> research -> draft -> send" in shown
    result = laptop.call("runs", "result", str(found["run"]), "--json").json
    assert isinstance(result, dict)
    assert "answered" == result["status"]


def test_an_edit_is_sent_exactly_as_signed_and_by_nobody_else(laptop: Laptop) -> None:
    """Wrong person, early backup, stale digest and broken schema are refused; the effect uses the edited bytes."""
    run, approval = laptop.pending()
    shown = laptop.call("approvals", "show", approval).out
    assert "send_email" in shown
    assert f"vertebra approve {approval} --digest sha256:" in shown

    refusals = [
        laptop.call("approve", approval),
        laptop.call("approve", approval, "--as", "bo"),
        laptop.call("approve", approval, "--as", "ada", "--digest", "sha256:0"),
        laptop.call("approve", approval, "--as", "ada", "--set", "colour=red"),
        laptop.call("approve", approval, "--as", "nobody"),
    ]
    assert [1, 1, 1, 2, 2] == [one.code for one in refusals], refusals
    assert 0 == laptop.call("approve", approval, "--as", "ada", "--set", "text=Edited by Ada").code
    assert 0 == laptop.call("runs", "watch", run).code
    assert 1 == laptop.call("deny", approval, "--as", "ada").code

    sent = [path.read_text() for path in (laptop.project / ".vertebra" / "mail" / "new").iterdir()]
    assert 1 == len([text for text in sent if "Edited by Ada" in text])


def test_a_breached_budget_waits_for_an_operator(laptop: Laptop) -> None:
    """The longest ticket stops at its limit, and goes on after a top-up by a person who may."""
    tickets = (laptop.project / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    longest = laptop.project / "longest.json"
    longest.write_text(max(tickets, key=len), encoding="utf-8")

    run = str(laptop.run("-i", f"@{longest}")["run"])

    assert 1 == laptop.call("budgets", "top-up", run, "--usd", "1", "--tokens", "100000", "--as", "ada").code
    assert 0 == laptop.call("budgets", "top-up", run, "--usd", "1", "--tokens", "100000", "--as", "cleo").code
    assert 0 == laptop.call("runs", "watch", run).code


def test_an_aborted_run_is_resumed_under_its_id(laptop: Laptop) -> None:
    """What was bought is not bought again: one sale for each model call before and after."""
    run, _ = laptop.pending()
    before = _sales(laptop, run)
    assert 0 == laptop.call("abort", run, "--reason", "a test").code
    assert 1 == laptop.call("runs", "watch", run).code  # it has ended, and not well
    assert 1 == laptop.call("cancel", run).code

    assert 0 == laptop.call("resume", run).code

    approval = _approval_of(laptop, run)
    assert 0 == laptop.call("approve", approval, "--as", "ada").code
    assert 0 == laptop.call("runs", "watch", run).code
    assert before == _sales(laptop, run)


def _approval_of(laptop: Laptop, run: str) -> str:
    """The approval that a resumed run asks for anew; the keeper needs a moment."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = laptop.call("approvals", "list", "--run", run, "--json").json
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            return str(rows[0]["id"])
    raise AssertionError("nothing was asked")


def _sales(laptop: Laptop, run: str) -> int:
    text = (laptop.project / ".vertebra" / "sales.jsonl").read_text(encoding="utf-8")
    return sum(run in line for line in text.splitlines())


async def test_any_temporal_client_may_start_it(laptop: Laptop) -> None:
    """A start without a ticket runs for the service that the graph names, and gives the same output."""
    client = await Client.connect(laptop.services.temporal_address)
    value = {"ticket": "Hello, when will my parcel arrive?", "email": "mia@example.com"}

    found = await asyncio.wait_for(
        client.execute_workflow("customer-support", value, id="from-python", task_queue="vertebra"), 60
    )

    assert "answered" == found["status"]
    shown = laptop.call("show", "from-python", "--json").json
    assert isinstance(shown, dict)
    assert ("svc-support", "temporal") == (shown["principal"], shown["started_by"])


def test_versions_are_immutable_and_an_older_one_comes_back(laptop: Laptop) -> None:
    """The same version with other contents is refused; publishing an older one again makes it current."""
    file = laptop.project / "graphs" / "customer-support.yaml"
    text = file.read_text(encoding="utf-8")
    words = ("publish", "customer-support")
    try:
        assert "published" in laptop.call(*words).out
        assert "unchanged" in laptop.call(*words).out
        file.write_text(text.replace("max_turns: 6", "max_turns: 5"), encoding="utf-8")
        assert "raise `version`" in laptop.call(*words).err
        file.write_text(text.replace("max_turns: 6", "max_turns: 5").replace("1.0.0", "1.1.0"), encoding="utf-8")
        assert "1.1.0" in laptop.call(*words).out
        assert "made current" in laptop.call("publish", "customer-support@1.0.0").out
        assert 2 == laptop.call("publish", "customer-support@9.9.9").code
        assert 1 == laptop.call("publish", "customer-support", "--as", "ada").code
    finally:
        file.write_text(text, encoding="utf-8")


def test_who_was_revoked_stays_so_and_is_in_nobodys_way(laptop: Laptop) -> None:
    """A line of people.yaml brings nobody back, and everything else of the project is taken up as before."""
    people, graph = (laptop.project / name for name in ("people.yaml", "graphs/customer-support.yaml"))
    texts = {file: file.read_text(encoding="utf-8") for file in (people, graph)}
    assert "enrolled" in laptop.call("people", "add", "dee", "--role", "operator").out
    assert "revoked" in laptop.call("people", "revoke", "dee").out
    assert "VERTEBRA_PERSON" in laptop.call("cancel", "nothing", "--as", "dee").err
    try:
        laptop.edit(
            "people.yaml", texts[people] + "- {name: dee, roles: [operator]}\n", "'dee' was revoked, and stays so"
        )
        changed = texts[graph].replace("max_turns: 6", "max_turns: 4")
        laptop.edit("graphs/customer-support.yaml", changed, "published customer-support@1.0.0+dev.")
    finally:
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
    row = next(line for line in laptop.call("people", "list").out.splitlines() if line.startswith("dee"))
    assert "revoked" in row


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)")
def test_an_edited_tool_is_what_the_next_run_uses(laptop: Laptop) -> None:
    """A new file, an edit and a mended one are taken up; a broken one is told, and the version before it stays."""
    (laptop.project / "tools").mkdir(exist_ok=True)
    (laptop.project / "tools/tax.py").write_text(TAX)
    file = "tools/tax.py"
    try:
        first = laptop.edit("graphs/taxed.yaml", TAXED, "published taxed@1.0.0+dev.")
        answers = [_gross(laptop)]
        second = laptop.edit(file, TAX.replace("119", "107"), "published taxed@1.0.0+dev.")
        answers.append(_gross(laptop))
        told = laptop.edit(file, TAX.replace("from typing", "import requests\nfrom typing"), "error: ")
        answers.append(_gross(laptop))
        mended = laptop.edit(file, TAX.replace("119", "107"), "unchanged taxed@1.0.0+dev.")
        third = laptop.edit(file, TAX.replace("119", "100"), "published taxed@1.0.0+dev.")
        answers.append(_gross(laptop))
    finally:
        shutil.rmtree(laptop.project / "tools")
        (laptop.project / "graphs/taxed.yaml").unlink()

    assert [119, 107, 107, 100] == answers
    assert 3 == len({first, second, third})
    assert second == mended.replace("unchanged", "published")
    assert told.startswith("error: tools/tax.py:2: it cannot be imported: ModuleNotFoundError: ")


def _gross(laptop: Laptop) -> Json:
    """What a run gives that is started now."""
    value = laptop.call("run", "taxed", "-i", "net=1", "--json").json
    assert isinstance(value, dict)
    assert isinstance(value["runs"], list)
    [run] = value["runs"]
    assert isinstance(run, dict)
    result = laptop.call("runs", "result", str(run["run"]), "--json").json
    assert isinstance(result, dict)
    return result["gross"]


def test_the_audit_holds_and_a_changed_export_is_found(laptop: Laptop, tmp_path: Path) -> None:
    """Everything verifies; one changed byte of an export is named by stream and entry."""
    run = str(laptop.run(*QUESTION)["run"])
    assert 0 == laptop.call("audit", "verify").code
    out = tmp_path / "audit.jsonl"
    assert 0 == laptop.call("audit", "export", run, "--out", str(out)).code
    assert 0 == laptop.call("audit", "verify", "--file", str(out)).code

    lines = out.read_text(encoding="utf-8").splitlines()
    bought = next(number for number, line in enumerate(lines) if '"operation":"llm_call"' in line)
    lines[bought] = lines[bought].replace('"operation":"llm_call"', '"operation":"llm_calm"')
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    found = laptop.call("audit", "verify", "--file", str(out), "--json")
    assert 1 == found.code
    assert isinstance(found.json, dict)
    assert isinstance(found.json["findings"], list)
    assert {"stream": run, "seq": bought} == {
        name: value for name, value in dict(found.json["findings"][0]).items() if name != "what"  # type: ignore[arg-type]
    }  # fmt: skip


def test_wrong_starts_make_no_run(laptop: Laptop) -> None:
    """An unknown graph, a broken input and a person without the right are refused before anything is started."""
    before = laptop.call("runs", "list", "--json").json
    refusals = [
        laptop.call("run", "nope", *QUESTION),
        laptop.call("run", "customer-support", "-i", "ticket=x"),
        laptop.call("run", "customer-support", *QUESTION, "--as", "bo"),
        laptop.call("show", "no-such-run"),
        laptop.call("approvals", "show", "NONE"),
        laptop.call("retry", "no-such-run", "draft"),
    ]

    assert [2, 2, 1, 2, 2, 2] == [one.code for one in refusals], refusals
    assert before == laptop.call("runs", "list", "--json").json


def test_people_are_written_by_the_owner_and_end_for_good(laptop: Laptop) -> None:
    """Who is added may start; who is revoked may not, and is not enrolled again."""
    assert 0 == laptop.call("people", "add", "eve", "--role", "starter").code
    assert "completed" == laptop.run(*QUESTION, "--as", "eve")["state"]

    assert 0 == laptop.call("people", "revoke", "eve").code

    assert 1 == laptop.call("run", "customer-support", *QUESTION, "--as", "eve").code
    assert 1 == laptop.call("people", "add", "eve", "--role", "starter").code
    with psycopg.connect(laptop.services.dsns["vertebra_api"]) as connection, pytest.raises(psycopg.Error):
        connection.execute("update people set revoked_at = null")


def test_a_second_dev_says_that_one_runs(laptop: Laptop) -> None:
    """It names the first and leaves it alone."""
    found = laptop.call("dev")

    assert 2 == found.code
    assert "already runs" in found.err


def test_doctor_finds_everything_and_shows_no_secret(laptop: Laptop) -> None:
    """Each setting has its origin; passwords appear nowhere."""
    found = laptop.call("doctor", "--json")

    assert 0 == found.code
    assert "services.json" in found.out
    passwords = json.loads((laptop.project / ".vertebra" / "keys" / "database.json").read_text())
    assert not [one for one in passwords.values() if one in found.out]
