"""Reading a project folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.compiler import Project, read_project
from vertebra.schemas.errors import BadFile, Complaints

PROMPT = "prompt: hello\nversion: 1\ntemplate: Hello {{name}}\ninput: {name: {type: string, required: true}}\n"

PRICE = "- {provider: p, model: m, input: 1, output: 2}\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def complaints(folder: Path) -> list[str]:
    with pytest.raises(Complaints) as refused:
        read_project(folder)
    return [str(complaint) for complaint in refused.value.complaints]


def test_a_project_is_read_into_values(project: Project) -> None:
    """Prompts by name and version, prices, people, and the graph files."""
    assert ["classify@1", "draft@1", "research@1"] == sorted(project.prompts)
    assert "prompts/classify.yaml:1" == project.places["classify@1"]
    assert 150_000 == (price.input if (price := project.prices.find("scripted", "small")) else None)
    assert frozenset({"support_lead", "manager", "starter"}) == project.roles
    assert frozenset({"svc-support"}) == project.services
    assert "customer-support.yaml" == (path.name if (path := project.graph("customer-support")) else None)
    assert project.graph("other") is None


def test_an_empty_folder_is_an_empty_project(tmp_path: Path) -> None:
    """Nothing is required; without people.yaml roles are not known."""
    project = read_project(tmp_path)

    assert ({}, (), ()) == (project.prompts, project.graphs, project.people)
    assert project.roles is None
    assert project.services is None


def test_the_same_prompt_in_two_files_is_refused(tmp_path: Path) -> None:
    """Both places are named."""
    write(tmp_path, {"prompts/a.yaml": PROMPT, "prompts/b.yaml": f"\n{PROMPT}"})

    (told,) = complaints(tmp_path)

    assert told.startswith("prompts/b.yaml:2: prompt 'hello@1' stands in two files")
    assert "prompts/a.yaml:1" in told


def test_two_versions_of_a_prompt_stand_side_by_side(tmp_path: Path) -> None:
    """Only the same name and version collide."""
    write(tmp_path, {"prompts/a.yaml": PROMPT, "prompts/b.yaml": PROMPT.replace("version: 1", "version: 2")})

    assert ["hello@1", "hello@2"] == list(read_project(tmp_path).prompts)


def test_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    """Each file's complaints carry its own name and line."""
    write(
        tmp_path,
        {
            "prompts/a.yaml": "prompt: a\nversion: 1\ntemplte: x\ntemplate: y\n",
            "prompts/b.yaml": "prompt: [",
            "prices.yaml": f"{PRICE}{PRICE}- {{provider: p, modle: m, input: -1, output: x}}\n",
            "people.yaml": "- {name: ada, roles: lead}\n- {name: ada, role: [x]}\n- 3\n",
        },
    )

    told = complaints(tmp_path)

    assert told[0] == "prompts/a.yaml:3: unknown key 'templte'; did you mean 'template'?"
    assert told[1].startswith("prompts/b.yaml:2:1: not readable as YAML")
    assert "prices.yaml:2: 'p/m' has a second line; keep one" in told
    assert "prices.yaml:3: line 3 has no key 'modle'; did you mean 'model'?" in told
    assert "people.yaml:1: line 1, 'roles' must be a list" in told
    assert "people.yaml:2: line 2 has no key 'role'; did you mean 'roles'?" in told
    assert "people.yaml:3: line 3 must be a mapping" in told


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(BadFile, match="no such folder"):
        read_project(tmp_path / "nowhere")


def test_a_list_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    """People are lines."""
    write(tmp_path, {"people.yaml": "ada: [lead]\n"})

    assert complaints(tmp_path)[0].startswith("people.yaml:1: people.yaml is a list of lines")
