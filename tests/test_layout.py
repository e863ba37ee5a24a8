"""The shape of the repository: links, wheel, sizes, and nothing in it that belongs to one machine."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
LINKS = ("activities", "policies", "prompts", "schemas", "workers", "workflows")
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_OF_ONE_MACHINE = re.compile(
    r"/home/[a-z]|/Users/[A-Za-z]|/r[o]ot/|/w[o]rk/"  # folders of people and build machines
    r"|--(?:extra-)?index-url [^-]|--find-links|pythonhosted\.org|registry\.npmjs"  # where packages came from
)


def tracked() -> list[PurePosixPath]:
    """Every file of the checkout that a commit would hold."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not run: no git checkout")
    # a checkout mounted from another user's folder is read all the same
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = {PurePosixPath(name) for name in names if name}
    return sorted(path for path in paths if (ROOT / path).is_symlink() or (ROOT / path).is_file())


def texts() -> list[tuple[PurePosixPath, str]]:
    """Every tracked text file with its text."""
    files = [path for path in tracked() if not (ROOT / path).is_symlink()]
    contents = [(path, (ROOT / path).read_bytes()) for path in files]
    return [(path, content.decode()) for path, content in contents if b"\0" not in content]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel that is built from the sdist of a copy of the checkout, without any network."""
    checkout, unpacked = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("unpacked")
    for path in tracked():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, checkout / path, follow_symlinks=False)
    _build("sdist", checkout)
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", unpacked], check=True)
    (source,) = unpacked.iterdir()
    _build("wheel", source)
    (built,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def _build(kind: str, folder: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_{kind}('dist')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert 0 == done.returncode, done.stdout[-4000:]


@pytest.mark.parametrize("name", LINKS)
def test_a_root_link_is_relative_and_points_at_its_package(name: str) -> None:
    """Each link at the root shows a package of vertebra/, in any checkout."""
    link = ROOT / name

    assert link.is_symlink()
    assert Path("vertebra") / name == link.readlink()
    assert (link / "__init__.py").is_file()


def test_there_is_no_other_link() -> None:
    """The six links at the root are the only ones."""
    links = [str(path) for path in tracked() if (ROOT / path).is_symlink()]

    assert list(LINKS) == links


def test_the_wheel_holds_every_file_of_the_package(wheel: list[str]) -> None:
    """What is under vertebra/ is in the wheel: code, SQL, migrations, templates with their hidden files."""
    package = {str(path) for path in tracked() if path.parts[0] == "vertebra"}

    assert package == {name for name in wheel if name.startswith("vertebra/")}


def test_the_wheel_holds_nothing_else(wheel: list[str]) -> None:
    """No link, test or benchmark becomes a package of its own, where it could overwrite another project's."""
    other = {name.split("/")[0] for name in wheel} - {"vertebra"}

    assert 1 == len(other)
    assert other.pop().endswith(".dist-info")


@pytest.mark.parametrize("name", [*LINKS, "tests", "bench"])
def test_no_flat_name_can_be_imported_from_outside(name: str, tmp_path: Path) -> None:
    """From another folder only `vertebra` is importable, installed as it is for development."""
    code = f"import importlib.util, vertebra; print(importlib.util.find_spec({name!r}))"

    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert "None\n" == done.stdout


def test_the_package_itself_is_empty() -> None:
    """`vertebra/__init__.py` runs again for every workflow run, so it holds nothing."""
    assert b"" == (ROOT / "vertebra/__init__.py").read_bytes()


def test_no_file_is_too_long() -> None:
    """A module of the package fits in a head."""
    lengths = {str(path): len(text.splitlines()) for path, text in texts() if _is_code(path)}

    assert {} == {path: length for path, length in lengths.items() if length > MAX_FILE_LINES}


def test_no_function_is_too_long() -> None:
    """A function of the package does one thing at one level."""
    lengths = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, text in texts()
        if _is_code(path)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {} == {where: length for where, length in lengths.items() if length > MAX_FUNCTION_LINES}


def test_every_client_of_temporal_is_made_in_one_place() -> None:
    """Only there are TLS and the API key put in; the other place asks whether the laptop's own server is up."""
    found = {str(path) for path, text in texts() if _is_code(path) and "await Client.connect(" in text}

    assert {"vertebra/client/connection.py", "vertebra/services/temporal.py"} == found


def _is_code(path: PurePosixPath) -> bool:
    return path.parts[0] == "vertebra" and path.suffix == ".py"


def test_no_file_names_a_machine() -> None:
    """No folder of a person or build machine and no package index is written anywhere."""
    found = [
        f"{path}: {line.strip()}"
        for path, text in texts()
        if path.name != Path(__file__).name
        for line in text.splitlines()
        if _OF_ONE_MACHINE.search(line)
    ]

    assert [] == found


def test_every_link_in_the_documents_leads_somewhere() -> None:
    """A relative link in a Markdown file names a file of the repository."""
    dead = [
        f"{path}: {target}"
        for path, text in texts()
        if path.suffix == ".md"
        for target in _LINK.findall(_FENCE.sub("", text))
        if not target.startswith(("https://", "http://", "mailto:", "#"))
        and not (ROOT / path.parent / target.partition("#")[0]).exists()
    ]

    assert [] == dead
