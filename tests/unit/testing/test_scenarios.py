"""Scenario files: each template's own pass, mistakes are told at their line, and what fails says expected and got."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vertebra.boundary.cel_child import CelChild
from vertebra.cli import init
from vertebra.cli.main import main
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile, Complaints, NotFound
from vertebra.testing import read_scenarios, run_scenario

TEMPLATES = Path(__file__).parents[3] / "vertebra/templates"
PROJECTS = sorted(path.parent for path in TEMPLATES.glob("*/vertebra.toml"))
SUPPORT = TEMPLATES / "customer-support"
PLAIN = """\
scenario: plain
graph: customer-support
input: {ticket: "Hello, when will my parcel arrive?", email: mia@example.com}
"""


@pytest.fixture(scope="module")
async def cel() -> AsyncIterator[CelChild]:
    """One guarded child for all plays."""
    async with CelChild() as child:
        yield child


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The support template without its scenarios."""
    folder = tmp_path / "shop"
    shutil.copytree(SUPPORT, folder)
    shutil.rmtree(folder / "tests")
    (folder / "tests").mkdir()
    return folder


def write(project: Path, text: str, name: str = "plain") -> None:
    (project / f"tests/{name}.yaml").write_text(text, encoding="utf-8")


def call(project: Path, *args: str) -> int:
    """The exit code of `vertebra test`."""
    with pytest.raises(SystemExit) as ended:
        main(["--project", str(project), "test", *args])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_what_an_editor_leaves_beside_a_file_is_no_scenario(project: Path) -> None:
    """The lock of an editor is a link to nowhere: it hides neither scenarios nor replies."""
    write(project, PLAIN)
    for folder in ("tests", "replies"):
        (project / folder / ".#plain.yaml").symlink_to("ada@laptop.4711")

    assert ["plain"] == [scenario.name for scenario in read_scenarios(project)]
    assert ["plain"] == [scenario.name for scenario in read_scenarios(project, "plain")]


def test_the_help_lists_every_template() -> None:
    """What `vertebra init` offers is what the package holds."""
    assert [path.name for path in PROJECTS] == list(init.TEMPLATES)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
async def test_each_template_passes_its_own_scenarios(project: Path, cel: CelChild) -> None:
    """Every scenario that a template ships comes out as it says."""
    scenarios = read_scenarios(project)

    results = [await run_scenario(scenario, cel) for scenario in scenarios]

    assert scenarios
    assert {scenario.name: () for scenario in scenarios} == {one.scenario.name: one.differences for one in results}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("replies: {clasify: [{kind: spam}]}", "tests/plain.yaml:4: 'clasify' is no node with a model"),
        ("approvals: {draft: x}", "tests/plain.yaml:4"),
        ("approvals:\n  send: {as: nobody, decision: approve}", "tests/plain.yaml:5: nobody is called 'nobody'"),
        ("approvals:\n  send: {decision: aprove}", "tests/plain.yaml:5: 'approvals.send.decision' must be 'approve', "),
        ("approvals:\n  send: [{}]", "tests/plain.yaml:5: 'decision' is missing"),
        ("approvals: {send: [yes]}", "tests/plain.yaml:4: 'approvals.send[0]' must be a mapping"),
        ("approvals: {send: {decision: deny, reason: 7}}", "4: 'approvals.send.reason' must be a text"),
        ("commands: [{abort: maybe}]", "tests/plain.yaml:4: 'commands[0].abort' must be true or false"),
        ("commands: [{top_up: 5}]", "tests/plain.yaml:4: 'commands[0].top_up' must be a mapping"),
        ("expect: [completed]", "tests/plain.yaml:4: 'expect' must be a mapping"),
        ("expect: {status: done}", "tests/plain.yaml:4: 'expect.status' must be 'running', "),
        ("expect: {path: classify}", "tests/plain.yaml:4: 'expect.path' must be a list"),
        ("expect: {cost_usd: cheap}", "tests/plain.yaml:4: 'expect.cost_usd' must be a number or a mapping"),
        ("expect: {cost_usd: {mx: 1}}", "tests/plain.yaml:4: there is no key 'mx' here; did you mean 'max'?"),
        ("expect: {cost_usd: {max: much}}", "tests/plain.yaml:4: 'expect.cost_usd.max' must be a number"),
        ("expect: {audit: {llm_call: many}}", "tests/plain.yaml:4: 'expect.audit.llm_call' must be a whole number"),
        ("approvals:\n  apologis: {decision: approve}", "did you mean 'apologise'?"),
        ("approvals:\n  send: {decision: edit}", "tests/plain.yaml:5: an edit says which arguments change"),
        ("approvals:\n  send: {decision: approve, after: soon}", "tests/plain.yaml:5: 'soon' is no duration"),
        ("commands: [{retry: snd}]", "tests/plain.yaml:4: 'snd' is no node of graph 'customer-support'; did you mean"),
        ("commands: [{retry: send, skip: send}]", "tests/plain.yaml:4: a command has exactly one verb"),
        ("commands: [{top_up: {usd: -1}}]", "tests/plain.yaml:4: these are no dollars"),
        ("tools: {send_mail: []}", "tests/plain.yaml:4: 'send_mail' is no tool; did you mean 'send_email'?"),
        ("expect:\n  path: [classify, reserch]", "'reserch' is no node of graph 'customer-support'; did you mean"),
        ("expect:\n  output: {stats: open}", "tests/plain.yaml:5: 'stats' is no field of the output"),
        ("expect:\n  audit: {llm_cal: 1}", "'llm_cal' is no operation of the audit; did you mean 'llm_call'?"),
        ("expect:\n  stauts: completed", "tests/plain.yaml:5: there is no key 'stauts' here; did you mean 'status'?"),
        ("expects: {}", "tests/plain.yaml:4: there is no key 'expects' here; did you mean 'expect'?"),
    ],
)
def test_a_mistake_is_told_with_its_line(project: Path, text: str, complaint: str) -> None:
    """An unknown name, a wrong shape: file and line, and the nearest name."""
    write(project, PLAIN + text)

    with pytest.raises(Complaints) as told:
        read_scenarios(project)

    assert complaint in str(told.value)
    assert 1 == len(told.value.complaints)
    assert "nput should" not in str(told.value)


def test_a_file_that_is_no_mapping_is_told_in_the_same_words(project: Path) -> None:
    """Also at its top."""
    write(project, "- scenario: plain\n")

    with pytest.raises(Complaints, match=r"^tests/plain\.yaml:1: the scenario must be a mapping$"):
        read_scenarios(project)


@pytest.mark.parametrize(
    "other", ["- no mapping\n", "a: [\n", "scenario: other\n", PLAIN.replace("plain", "other") + "x: 1"]
)
def test_one_scenario_is_played_whatever_stands_in_other_files(project: Path, other: str) -> None:
    """Whoever asks for one works on that one; a mistake of its own is told all the same."""
    write(project, PLAIN)
    write(project, other, "other")

    assert ["plain"] == [scenario.name for scenario in read_scenarios(project, "plain")]
    with pytest.raises(Complaints):
        read_scenarios(project)
    write(project, PLAIN + "expects: {}")
    with pytest.raises(Complaints, match=r"plain\.yaml:4"):
        read_scenarios(project, "plain")


NO_BWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("prompts/other.yaml", "prompt: other\n"),
        ("prompts/odd.yaml", "a: [\n"),
        ("replies/other.yaml", "- {reply: 1, match: 2}\n"),
        ("graphs/other.yaml", "graph: other\n"),
        pytest.param("tools/other.py", "import nothing_of_this_name\n", marks=NO_BWRAP),
    ],
)
def test_one_scenario_is_played_whatever_stands_in_files_that_it_does_not_need(
    project: Path, file: str, text: str
) -> None:
    """Prompt, tool, replies and graph that its own graph does not use may be wrong; without a name all is told."""
    write(project, PLAIN)
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text(text, encoding="utf-8")
    if file.startswith("graphs/"):
        write(project, PLAIN.replace("plain", "other").replace("customer-support", "other"), "other")

    assert ["plain"] == [scenario.name for scenario in read_scenarios(project, "plain")]
    with pytest.raises(Complaints, match=file.removesuffix(".yaml")):
        read_scenarios(project)


@pytest.mark.parametrize(
    ("file", "text"), [("prompts/classify.yaml", "a: [\n"), ("replies/classify.yaml", "- {reply: 1, match: 2}\n")]
)
def test_one_scenario_tells_what_is_wrong_with_files_that_it_needs(project: Path, file: str, text: str) -> None:
    """Its graph's prompts and the replies of its nodes: the mistake is told where it stands."""
    write(project, PLAIN)
    (project / file).write_text(text, encoding="utf-8")

    with pytest.raises(Complaints, match=file):
        read_scenarios(project, "plain")


def test_a_prompt_that_stands_in_two_files_is_none_of_both(project: Path) -> None:
    """Nobody plays a scenario with the one that happened to be read first."""
    write(project, PLAIN)
    shutil.copy(project / "prompts/classify.yaml", project / "prompts/zz.yaml")

    with pytest.raises(Complaints, match="stands in two files"):
        read_scenarios(project, "plain")


def test_a_scenario_that_is_not_found_may_stand_in_a_file_that_cannot_be_read(project: Path) -> None:
    """Then that is told; else the nearest name."""
    write(project, PLAIN)
    with pytest.raises(NotFound, match="did you mean 'plain'"):
        read_scenarios(project, "plan")

    write(project, "scenario: plan\na: [\n", "other")
    with pytest.raises(BadFile, match=r"tests/other\.yaml:"):
        read_scenarios(project, "plan")


def test_a_mistake_of_a_graph_is_told_once(project: Path) -> None:
    """However many scenarios play it."""
    for name in ("plain", "other"):
        write(project, PLAIN.replace("scenario: plain", f"scenario: {name}"), name)
    file = project / "graphs/customer-support.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("draft -> send", "draft -> sned"), encoding="utf-8")

    with pytest.raises(Complaints) as caught:
        read_scenarios(project)

    assert ["an edge names unknown node 'sned'"] == [mistake.message for mistake in caught.value.complaints]


def test_all_mistakes_of_all_files_are_told_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files with one mistake each: both are told, nothing is played, the code says that it is not sound."""
    write(project, PLAIN.replace("customer-support", "customer-suport"))
    write(project, PLAIN.replace("plain", "other") + "expect: {path: [nowhere]}", "other")

    assert 1 == call(project)

    said = capsys.readouterr()
    assert "" == said.out
    assert "tests/plain.yaml:2: this project has no graph 'customer-suport'" in said.err
    assert "tests/other.yaml:4: 'nowhere' is no node" in said.err


def test_a_failing_expectation_shows_both_sides(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, with file, line, expected and got."""
    write(project, PLAIN + "expect:\n  status: aborted\n  cost_usd: {max: 0.001}\n  audit: {llm_call: 9}\n")

    assert 1 == call(project)

    said = capsys.readouterr().out
    assert 'tests/plain.yaml:5: status: expected "aborted", got "completed"' in said
    assert 'tests/plain.yaml:6: cost_usd: expected {"max": 0.001}, got "$0.002056"' in said
    assert "tests/plain.yaml:7: audit.llm_call: expected 9, got 4" in said
    assert "1 scenario, 1 failed" in said


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_the_output_is_the_same_twice(project: Path, args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output holds no time, no random id, nothing of the machine."""
    shutil.copy(SUPPORT / "tests/large_refund.yaml", project / "tests")

    said = [(call(project, *args), capsys.readouterr().out) for _ in range(2)]

    assert said[0] == said[1]
    assert 0 == said[0][0]


def test_json_has_everything_of_a_play(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` names path, output, cost, counts, mails and tools of each scenario."""
    write(project, PLAIN)

    assert 0 == call(project, "--json", "--scenario", "plain")

    [found] = json.loads(capsys.readouterr().out)
    assert ["classify", "research", "draft", "send"] == found["path"]
    assert (True, "completed", 2056) == (found["ok"], found["status"], found["cost_microusd"])
    assert {"search_docs": 1, "send_email": 1} == found["tools"]
    assert "mia@example.com" == found["mails"][0]["to"]


def test_an_unknown_scenario_is_told_with_the_nearest(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--scenario plan` is a mistake, and says which one may be meant."""
    write(project, PLAIN)

    assert 2 == call(project, "--scenario", "plan")

    assert "did you mean 'plain'?" in capsys.readouterr().err


def test_an_input_that_the_graph_refuses_is_a_mistake_of_its_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is checked as that of any start, before anything is played, and told at its line beside other mistakes."""
    write(project, PLAIN.replace("email:", "mail:") + "expect: {path: [nowhere]}")
    write(project, PLAIN.replace("plain", "other"), "other")

    assert 1 == call(project)

    said = capsys.readouterr()
    assert "" == said.out
    assert "tests/plain.yaml:3: input of customer-support: mail: is not declared; did you mean 'email'?" in said.err
    assert "tests/plain.yaml:3: input of customer-support: email: is required" in said.err
    assert "tests/plain.yaml:4: 'nowhere'" in said.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("approvals: {send: {decision: approve}}", 'expected [], got ["approve of send"]'),
        ("commands: [{retry: send}]", 'expected [], got ["retry send"]'),
    ],
)
async def test_an_act_that_nobody_waits_for_fails(project: Path, cel: CelChild, text: str, said: str) -> None:
    """A decision about what was never asked tests nothing, so it is told."""
    write(project, PLAIN + text)
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario, cel)

    [difference] = result.differences
    got: Json = difference.got
    assert said == f"expected {json.dumps(difference.expected)}, got {json.dumps(got)}"


async def test_a_tool_without_an_answer_fails_the_scenario(project: Path, cel: CelChild) -> None:
    """A sandboxed tool has no answer offline unless the scenario gives one, whatever else is expected."""
    turns = "{turns: [{tool_calls: [{tool: python, args: {code: '1'}}]}, {facts: [x], confidence: 0.9}]}"
    write(project, PLAIN + f"replies: {{research: [{turns}]}}")
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario, cel)

    assert ["refused or missing"] == [one.what for one in result.differences]
    assert ("tools.python: the scenario gives no answer for this call",) == result.outcome.notes


async def test_an_attempt_more_than_answers_is_told_as_that(project: Path, cel: CelChild) -> None:
    """Who gave an answer, and forgot that what fails is tried again, is not told that there is none."""
    turns = "{turns: [{tool_calls: [{tool: python, args: {code: '1'}}]}, {facts: [x], confidence: 0.9}]}"
    write(project, PLAIN + f"replies: {{research: [{turns}]}}\ntools: {{python: [{{lost: true}}]}}")
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario, cel)

    assert result.outcome.notes[0].startswith("tools.python: the scenario's answers are used up; give one for each")


async def test_a_wait_that_nobody_ends_is_told(project: Path, cel: CelChild) -> None:
    """The notes of an outcome say what the run waits for, and where a scenario would answer it."""
    shutil.copy(SUPPORT / "tests/large_refund.yaml", project / "tests")
    file = project / "tests/large_refund.yaml"
    file.write_text(file.read_text(encoding="utf-8").partition("approvals:")[0], encoding="utf-8")
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario, cel)

    assert ("awaiting_human", ("send: waits for a decision: approvals",)) == (
        result.outcome.status,
        result.outcome.notes,
    )


async def test_a_refused_decision_fails_the_scenario(project: Path, cel: CelChild) -> None:
    """The backup may not decide before the escalation: the real check says so."""
    shutil.copy(SUPPORT / "tests/large_refund.yaml", project / "tests")
    file = project / "tests/large_refund.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("after: 5h", "after: 3h"), encoding="utf-8")
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario, cel)

    assert "has not been escalated yet" in result.outcome.notes[0]
    assert not result.ok
