"""Every way that we know to read a file that the operator did not open, tried on the tool that reads files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadArguments, BadToolOutput
from vertebra.tools.builtin.read_file import MAX_BYTES, read_file
from vertebra.tools.contract import ToolContext

pytestmark = pytest.mark.attack


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an open folder, and secrets all around it."""
    (tmp_path / "outside.txt").write_text("canary")
    folder = tmp_path / "project"
    for name in ("documents/inner", ".vertebra/keys", "documents/.git", "documents2"):
        (folder / name).mkdir(parents=True)
    for name in (".vertebra/keys/audit.key", "vertebra.toml", "documents/.git/config", "documents2/x.md"):
        (folder / name).write_text("canary")
    documents = folder / "documents"
    (documents / "terms.md").write_text("Fair terms.")
    (documents / "inner" / "deep.md").write_text("Deep.")
    (documents / "link.md").symlink_to(tmp_path / "outside.txt")
    (documents / "near.md").symlink_to(documents / "terms.md")
    (documents / "up").symlink_to(tmp_path)
    (documents / "keys").symlink_to(folder / ".vertebra" / "keys")
    (documents / "large.md").write_bytes(b"x" * (MAX_BYTES + 1))
    (documents / "binary.md").write_bytes(b"\xff\x00")
    os.mkfifo(documents / "pipe")
    return folder


async def read(project: Path, path: str, *folders: str) -> Json:
    context = ToolContext(idempotency_key="k", project=project, maildir=project, read_folders=folders)
    return await read_file.call({"path": path}, context)


@pytest.mark.parametrize("path", ["documents/terms.md", "documents/./terms.md", "documents//terms.md"])
async def test_an_open_file_is_read(project: Path, path: str) -> None:
    """A file below an open folder is read, however plainly its path is written."""
    assert {"path": "documents/terms.md", "text": "Fair terms."} == await read(project, path, "documents")


@pytest.mark.parametrize(
    "path",
    [
        *("../outside.txt", "documents/../../outside.txt", "documents/../vertebra.toml", "/etc/passwd", "//etc/passwd"),
        *("documents/link.md", "documents/near.md", "documents/up/outside.txt", "documents/keys/audit.key"),
        *(".vertebra/keys/audit.key", "documents/.git/config", "vertebra.toml", "documents2/x.md", "documents"),
        *("documents/inner", "documents/pipe", "documents/none.md", "documents/terms.md/x", "documents\\terms.md"),
        *("documents/terms.md\0.txt", "./.vertebra/keys/audit.key", "~/x", "."),
    ],
)
@pytest.mark.parametrize("folders", [("documents",), ("documents", "documents/inner")])
async def test_nothing_else_is_read(project: Path, path: str, folders: tuple[str, ...]) -> None:
    """Ways up, links, hidden files, neighbours, pipes and folders are refused, and so is what is not there."""
    with pytest.raises(BadArguments) as refused:
        await read(project, path, *folders)

    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("path", [".vertebra/keys/audit.key", "documents/link.md", "documents/keys/audit.key"])
async def test_an_operator_who_opens_everything_opens_no_keys(project: Path, path: str) -> None:
    """With the whole project opened, hidden files and links still lead nowhere."""
    with pytest.raises(BadArguments):
        await read(project, path, ".")


async def test_nothing_is_open_by_default(project: Path) -> None:
    """Without the operator's word no file is read."""
    with pytest.raises(BadArguments, match="operator"):
        await read(project, "documents/terms.md")


@pytest.mark.parametrize("path", ["documents/large.md", "documents/binary.md"])
async def test_what_no_model_can_read_is_told(project: Path, path: str) -> None:
    """Too much, or no text, is a named failure."""
    with pytest.raises(BadToolOutput):
        await read(project, path, "documents")
