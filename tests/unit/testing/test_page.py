"""The page about tests: its Python runs as it stands, its scenario passes, and it names what may be imported."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import vertebra.testing
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.testing import read_scenarios, run_scenario

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/test-a-graph.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's first block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The support template, named as on the page."""
    shutil.copytree(ROOT / "vertebra/templates/customer-support", tmp_path / "support")
    shutil.rmtree(tmp_path / "support/tests")
    (tmp_path / "support/tests").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "support"


async def test_the_scenario_of_the_page_passes(project: Path) -> None:
    """Every expectation that the page shows comes true."""
    text = block("yaml")
    assert read_yaml(text, "page").value
    (project / "tests/angry_customer.yaml").write_text(text, encoding="utf-8")
    [scenario] = read_scenarios(project)

    result = await run_scenario(scenario)

    assert () == result.differences


def test_the_python_of_the_page_runs(project: Path) -> None:
    """Both tests of the page pass, on a project with a scenario."""
    (project / "tests/angry_customer.yaml").write_text(block("yaml"), encoding="utf-8")
    names: dict[str, object] = {}
    exec(compile(block("python"), "docs/test-a-graph.md", "exec"), names)  # the page's own example

    tests = [value for name, value in names.items() if name.startswith("test_") and callable(value)]
    for test in tests:
        test()

    assert 2 == len(tests)


def test_the_page_names_what_may_be_imported() -> None:
    """Every public name of `vertebra.testing` stands on the page, and the list is sorted."""
    assert sorted(vertebra.testing.__all__) == vertebra.testing.__all__
    assert [] == [name for name in vertebra.testing.__all__ if f"`{name}" not in PAGE]
