"""What the demo decides without servers: which folder it may remove, how it writes commands, what it makes slow."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from vertebra.cli.demo.command import ACTS
from vertebra.cli.demo.screen import Screen, quoted
from vertebra.cli.demo.start import SLOW, clear, make
from vertebra.providers.reply_files import read_replies
from vertebra.schemas.errors import AlreadyRunning, ForeignData
from vertebra.services.state import FOLDER, FolderLock


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What an earlier demo left."""
    folder = tmp_path / ".demo"
    (folder / FOLDER).mkdir(parents=True)
    (folder / "vertebra.toml").write_text('name = "demo"\n')
    return folder


def test_an_earlier_demo_is_removed(left: Path) -> None:
    """Its folder goes, and a folder that is not there is fine."""
    clear(left)
    clear(left)

    assert not left.exists()


def test_a_demo_that_runs_is_left_alone(left: Path) -> None:
    """While a supervisor holds the lock, nothing is removed."""
    lock = FolderLock(left / FOLDER)
    lock.acquire()

    with pytest.raises(AlreadyRunning, match="a demo runs in this folder"):
        clear(left)

    lock.release()
    assert left.exists()


def test_a_link_is_not_followed(left: Path, tmp_path: Path) -> None:
    """A `.demo` that leads elsewhere is refused: what it leads to is not ours to remove."""
    link = tmp_path / "link"
    link.symlink_to(left)

    with pytest.raises(ForeignData):
        clear(link)

    assert left.exists()


@pytest.mark.parametrize("word", ["@tickets.jsonl", "sha256:00ff", "a b", "it's", "$249.00", "", "-i", "a=b;c", "x*"])
def test_a_command_is_written_so_that_a_shell_reads_it(word: str) -> None:
    """What is printed can be typed."""
    assert [word] == shlex.split(quoted(word))


async def test_the_slow_reply_is_a_reply(tmp_path: Path) -> None:
    """The project of the demo is the template with one more scripted reply, which comes first and takes time."""
    folder = tmp_path / ".demo"

    await make(folder, Screen())

    replies = read_replies(folder / "replies")["draft"]
    assert isinstance(replies, list)
    assert isinstance(replies[0], dict)
    assert SLOW == replies[0]["match"]
    assert yaml.safe_load((folder / "replies/draft.yaml").read_text()) == replies


def test_no_act_is_shown_twice() -> None:
    """Eight acts with titles of their own."""
    assert 8 == len({act.title for act in ACTS}) == len({act.play for act in ACTS})
