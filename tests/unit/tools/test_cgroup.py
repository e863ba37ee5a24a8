"""Where a job's control group is made, on trees that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.schemas.tool import Limits
from vertebra.tools.sandbox.cgroup import Group, Parents, find_parents


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def own(tmp_path: Path, text: str) -> Path:
    (tmp_path / "self").write_text(text)
    return tmp_path / "self"


def folder(place: Path, **files: str) -> Path:
    """A group: the kernel fills a new folder by itself, here the files are made beforehand where they matter."""
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name.replace("_", ".", 1)).write_text(text)
    return place


def test_no_group_file_means_no_group(tmp_path: Path) -> None:
    """Without /proc/self/cgroup (another system) there is no group."""
    assert find_parents(tmp_path, tmp_path / "missing") is None


def test_a_group_that_hands_nothing_down_is_passed_over(tree: Path, tmp_path: Path) -> None:
    """Version 2: groups without memory and pids in their subtree control cannot hold jobs."""
    folder(tree / "user.slice" / "run.scope", cgroup_subtree_control="")

    assert find_parents(tree, own(tmp_path, "0::/user.slice/run.scope\n")) is None


def test_version_1_needs_both_controllers(tree: Path, tmp_path: Path) -> None:
    """Version 1: memory alone is not enough."""
    folder(tree / "memory")

    assert find_parents(tree, own(tmp_path, "4:memory:/\n0::/\n")) is None


def test_a_folder_that_is_no_control_group_is_not_used(tree: Path, tmp_path: Path) -> None:
    """A plain folder gives no `cgroup.procs`: found by trying, so nobody believes in a limit that is none."""
    folder(tree / "memory")
    folder(tree / "pids")

    assert find_parents(tree, own(tmp_path, "8:pids:/\n4:memory:/\n")) is None
    assert list((tree / "memory").iterdir()) == []


def test_a_group_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A parent that has gone raises, so that no job runs outside a group that was promised."""
    parents = Parents((tmp_path / "gone",), unified=True)

    with pytest.raises(OSError, match="gone"), parents.group("x", Limits()):
        pass


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\n", True),
        ("memory.events", "low 0\noom 3\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", True),
        ("other", "oom_kill 1\n", False),
    ],
)
def test_a_kill_for_memory_is_seen(tmp_path: Path, name: str, text: str, expected: bool) -> None:
    """Both versions count the processes that were killed because the group's memory was used up."""
    (tmp_path / name).write_text(text)

    assert Group((tmp_path,)).ran_out_of_memory() is expected
