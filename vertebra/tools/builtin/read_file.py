"""Read a text file below the folders of the project that the operator opened, and nothing else.

Each part of the path is opened from the folder before it, without following links: neither a link nor a folder that is
swapped at the last moment leads out. Hidden files and folders are nobody's: `.vertebra/` holds keys.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, NoReturn

from pydantic import Field

from vertebra.schemas.errors import BadArguments, BadToolOutput
from vertebra.tools.contract import ToolContext, tool

MAX_BYTES = 256 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would keep us waiting for its writer


@dataclass(frozen=True)
class FileText:
    """The whole text of the file."""

    path: str
    text: str


@tool(effect="pure", runs="worker", timeout="10s")
def read_file(path: Annotated[str, Field(min_length=1, max_length=1000)], context: ToolContext) -> FileText:
    """Read one text file of the project by its path, such as documents/terms.md."""
    parts = PurePosixPath(path).parts
    if "\0" in path or path.startswith("/") or any(part.startswith(".") for part in parts):
        _refuse(path, "it must be a relative path without '..' and hidden names")
    if not any(parts[: len(folder)] == folder and len(parts) > len(folder) for folder in _opened(context)):
        _refuse(path, "it is in no folder that the operator opened")
    with _file(context.project, parts, path) as descriptor:
        data = _read(descriptor, path)
    try:
        return FileText("/".join(parts), data.decode().replace("\0", "\ufffd"))
    except UnicodeDecodeError:
        raise BadToolOutput(f"{path!r} is no UTF-8 text", tool="read_file", do="name a text file") from None


def _opened(context: ToolContext) -> list[tuple[str, ...]]:
    return [PurePosixPath(folder).parts for folder in context.read_folders]


@contextmanager
def _file(project: Path, parts: tuple[str, ...], path: str) -> Iterator[int]:
    opened = [os.open(project, os.O_RDONLY | os.O_DIRECTORY)]
    try:
        for part in parts[:-1]:
            opened.append(os.open(part, _FOLDER, dir_fd=opened[-1]))
        opened.append(os.open(parts[-1], _FILE, dir_fd=opened[-1]))
        yield opened[-1]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            _refuse(path, "there is no such file, or a link stands in the way")
        _refuse(path, "it is a link" if error.errno == errno.ELOOP else f"it cannot be read: {error.strerror}")
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _read(descriptor: int, path: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        _refuse(path, "it is no file")
    data = bytearray()
    # the size may change while it is read, so what is read is what counts
    while chunk := os.read(descriptor, MAX_BYTES + 1 - len(data)):
        data += chunk
        if len(data) > MAX_BYTES:
            raise BadToolOutput(f"{path!r} has more than {MAX_BYTES} bytes", tool="read_file", do="name a smaller file")
    return bytes(data)


def _refuse(path: str, why: str) -> NoReturn:
    raise BadArguments(f"{path!r} cannot be read: {why}", tool="read_file")
