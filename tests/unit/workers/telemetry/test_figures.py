"""The worker's page of figures, and the alerts that are made of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from temporalio.runtime import Runtime

from vertebra.audit.aggregate import GROUPS, METRICS
from vertebra.schemas.errors import SettingsError
from vertebra.services.ports import pick
from vertebra.workers.telemetry.figures import GAUGES, Figures, runtime_serving

ALERTS = Path(__file__).parents[4] / "deploy" / "alerts.yaml"
STORIES = ALERTS.with_name("alerts.test.yaml")
LABELS = {"agent_name", "kind", "status", "by", "reason", "graph_name", "duty", "transaction", "le", "service_name"}
ELSEWHERE = {
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
}
"""Of the node exporter."""
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def read(port: int) -> Samples:
    """The page: value by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "service_name"}
            found.setdefault(sample.name, {})[tuple(sorted(labels.items()))] = sample.value
    return found


@pytest.fixture(scope="module")
def page() -> tuple[Runtime, int]:
    """A page on which everything was told once or twice."""
    port = pick(0)
    runtime = runtime_serving("127.0.0.1", port)
    figures = Figures(runtime.metric_meter)
    figures.settled("llm", "writer", "done", duration_ms=1500, tokens=10, microusd=7)
    figures.settled("llm", "writer", "failed", duration_ms=500, tokens=1, microusd=2)
    figures.settled("tool", "", "done", duration_ms=1, tokens=0, microusd=0)
    figures.refused("llm", "budget", "top_up")
    figures.ended("support", "completed", 61.5)
    figures.sent("wake")
    figures.sent("wake")
    figures.received("event", 1.5)
    figures.received("decision", -0.5)
    figures.trip("load", 0.25)
    figures.trip("load", 0.5)
    figures.duty("wake", ok=True)
    figures.duty("wake", ok=False)
    figures.stands({name.removeprefix("vertebra_"): 3 for name in GAUGES})
    return runtime, port


def test_everything_told_is_on_the_page(page: tuple[Runtime, int]) -> None:
    """By the names of the documentation, with their labels."""
    found = read(page[1])

    writer = (("agent_name", "writer"), ("kind", "llm"))
    assert 1 == found["vertebra_agent_requests_total"][(*writer, ("status", "done"))]
    assert 1 == found["vertebra_agent_requests_total"][("agent_name", "none"), ("kind", "tool"), ("status", "done")]
    assert (2, 2.0) == (
        found["vertebra_agent_processing_seconds_count"][writer],
        found["vertebra_agent_processing_seconds_sum"][writer],
    )
    assert (11, 9) == (found["vertebra_tokens_total"][writer], found["vertebra_cost_microusd_total"][writer])
    assert {(("by", "budget"), ("kind", "llm"), ("reason", "top_up")): 1} == found["vertebra_gate_refusals_total"]
    assert {(("graph_name", "support"), ("status", "completed")): 1} == found["vertebra_workflow_executions_total"]
    assert {(("graph_name", "support"),): 61.5} == found["vertebra_workflow_duration_seconds_sum"]
    assert {(("kind", "wake"),): 2} == found["vertebra_messages_sent_total"]
    assert {(("kind", "event"),): 1, (("kind", "decision"),): 1} == found["vertebra_messages_received_total"]
    assert {(("kind", "event"),): 1.5, (("kind", "decision"),): 0} == found["vertebra_delivery_seconds_sum"]
    assert {(("transaction", "load"),): 0.75} == found["vertebra_database_seconds_sum"]
    assert {1.0} == set(found["vertebra_keeper_duties_total"].values())
    assert all({(): 3.0} == found[name] for name in GAUGES)


def test_labels_are_few(page: tuple[Runtime, int]) -> None:
    """No label but these: none carries the id of a run or the text of a user."""
    names = {name for values in read(page[1]).values() for labels in values for name, _ in labels}

    assert names <= LABELS


def test_alerts_name_figures_that_exist(page: tuple[Runtime, int]) -> None:
    """Every metric of every rule is on the page, or the node exporter's; every rule says what to do."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    found = read(page[1])

    named = {name for rule in rules for name in re.findall(r"\b(?:vertebra|node)_\w+", rule["expr"])}
    assert set() == named - set(found) - ELSEWHERE
    alerts = {rule["alert"]: rule["annotations"] for rule in rules if "record" not in rule}
    assert {"AgentErrors", "AgentSlow", "RunsFail", "DiskFull", "MemoryShort", "DeliverySlow"} <= set(alerts)
    assert all(told["summary"] and told["do"] for told in alerts.values())
    used = {word for rule in rules for part in re.findall(r"by \(([^)]*)\)", rule["expr"]) for word in part.split(", ")}
    assert used <= LABELS


def test_every_alert_has_a_story_in_which_it_fires(page: tuple[Runtime, int]) -> None:
    """And those stories are told of series that are on the page or the node exporter's."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    stories = yaml.safe_load(STORIES.read_text())["tests"]
    expected = [
        one["labels"] for story in stories for test in story["promql_expr_test"] for one in test.get("exp_samples", ())
    ]
    fired = {name for labels in expected for name in re.findall(r'ALERTS\{alertname="(\w+)"', labels)}
    series = {one["series"].partition("{")[0] for story in stories for one in story["input_series"]}

    assert {rule["alert"] for rule in rules if "alert" in rule} == fired
    assert series <= set(read(page[1])) | ELSEWHERE


@pytest.mark.skipif(shutil.which("promtool") is None, reason="not run: no promtool (Debian: prometheus)")
def test_alerts_fire_in_their_stories_alone() -> None:
    """Prometheus itself reads the rules, and evaluates them over the stories' figures."""
    for words in (["check", "rules", ALERTS.name], ["test", "rules", STORIES.name]):
        done = subprocess.run(["promtool", *words], check=False, cwd=ALERTS.parent, capture_output=True, text=True)
        assert 0 == done.returncode, done.stdout + done.stderr


def test_the_page_of_documentation_names_every_figure(page: tuple[Runtime, int]) -> None:
    """No more and no fewer than are served, the shares that are recorded, and every metric and group of the audit."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    text = (ALERTS.parents[1] / "docs" / "operate.md").read_text()
    served = {re.sub("_(bucket|count|sum|created)$", "", name) for name in read(page[1])}

    assert {name for name in served if name.startswith("vertebra_")} == set(re.findall(r"`(vertebra_[a-z_]+)`", text))
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert recorded == set(re.findall(r"`(vertebra:[a-z0-9_:]+)`", text)) != set()
    assert {*METRICS, *GROUPS} <= set(re.findall(r"`([a-z_]+)`", text))


SAYS = """
from dataclasses import replace
from vertebra.workers.telemetry import figures
figures.LINES = replace(figures.LINES, filter="INFO")
runtime = figures.RUNTIME
runtime._core_runtime.write_test_info_log("said", "more")
"""


@pytest.mark.parametrize("runtime", ["runtime_alone()", 'runtime_serving("127.0.0.1", 0)'])
def test_temporals_library_writes_json_lines(runtime: str) -> None:
    """Whoever collects a worker's lines reads one form, without colours."""
    program = [sys.executable, "-c", SAYS.replace("RUNTIME", runtime)]
    written = subprocess.run(program, capture_output=True, text=True, check=True).stdout

    assert "said" == json.loads(written)["fields"]["message"]


def test_a_port_in_use_is_told(page: tuple[Runtime, int]) -> None:
    """The start stops, naming the setting."""
    with pytest.raises(SettingsError, match="VERTEBRA_METRICS_PORT"):
        runtime_serving("127.0.0.1", page[1])
