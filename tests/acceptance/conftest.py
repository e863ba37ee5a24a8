"""One project with `vertebra dev` for all acceptance tests, which only type commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shop import Shop, open_for_business, opened

QUESTION = """
graph: NAME
version: 1.0.0
input: {text: {type: string, required: true}}
nodes:
  ask:
    type: human
    show: {text: input.text}
    form: {grade: {type: integer, required: true, validators: [{type: range, value: [1, 5]}]}}
    assign: [support_lead]
    expires_in: TIME
"""
"""Asks a person, who has that much time."""


@pytest.fixture(scope="session")
def shop(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The template's project, up and running."""
    made = opened(tmp_path_factory.mktemp("acceptance") / "shop")
    for name, time in (("question", "1h"), ("hasty", "8s")):
        (made.folder / f"graphs/{name}.yaml").write_text(QUESTION.replace("NAME", name).replace("TIME", time))
    # whoever imports from the project folder dies of it: CLI, worker or child
    (made.folder / "json.py").write_text("raise SystemExit('the project was imported')\n")
    with open_for_business(made):
        yield made


@pytest.fixture(scope="session")
def closed_shop(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A project where nothing runs."""
    return opened(tmp_path_factory.mktemp("acceptance") / "closed")


@pytest.fixture(scope="session")
def tickets() -> Path:
    """The tickets of the template."""
    return Path(__file__).parents[2] / "vertebra/templates/customer-support/tickets.jsonl"
