from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from vertebra.cli import editor
from vertebra.cli.main import WORDS, main


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project made by `vertebra init`."""
    folder = tmp_path / "shop"
    assert 0 == call("init", str(folder))
    capsys.readouterr()
    return folder


def call(*args: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_command_has_help_with_an_example(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of each command, and of each verb of a noun, ends with an example."""
    module, attribute = WORDS[word].place.split(":")
    app = getattr(importlib.import_module(f"vertebra.cli.{module}"), attribute)
    verbs = [(found.name or found.callback.__name__,) for found in app.registered_commands]
    for verb in verbs if len(verbs) > 1 else [()]:
        assert 0 == call(word, *verb, "--help")
        said = capsys.readouterr().out
        assert "Example" in said, (word, verb)
        assert "completion" not in said, (word, verb)
        assert "--json" in said or word in ("worker", "demo"), (word, verb)


def test_the_release_is_told_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    """What a report of a defect begins with."""
    assert 0 == call("--version")

    assert f"vertebra {version('vertebra')}\n" == capsys.readouterr().out


def test_help_imports_none_of_the_heavy_parts() -> None:
    """Help and completion load no database, no Temporal and no settings."""
    code = (
        "import sys, vertebra.cli.main; print([n for n in ('temporalio', 'psycopg', 'pydantic') if n in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()


def test_a_new_project_passes_its_own_check(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`init`, then `check --json`, without any service."""
    assert 0 == call("--project", str(project), "check", "--json")

    [found] = json.loads(capsys.readouterr().out)

    assert (True, "customer-support", []) == (found["ok"], found["graph"], found["complaints"])


def test_no_file_is_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something in it is refused, and stays as it is."""
    before = sorted(project.rglob("*"))

    assert 1 == call("init", str(project))

    assert "not empty" in capsys.readouterr().err
    assert before == sorted(project.rglob("*"))


@pytest.mark.parametrize("was_there", [True, False])
def test_a_project_that_cannot_be_made_leaves_nothing(
    was_there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full on the way is told, and is not in the way of the second try."""

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(editor, "mark", full)
    folder = tmp_path / "shop"
    if was_there:
        folder.mkdir()

    assert 2 == call("init", str(folder))

    said = capsys.readouterr().err
    assert f"error: {folder}: the project cannot be made: No space left on device; nothing was made" in said
    assert ([], was_there) == (list(folder.glob("*")), folder.exists())


def test_a_file_of_the_name_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the way is called what it is."""
    (tmp_path / "shop").write_text("")

    assert 1 == call("init", str(tmp_path / "shop"))

    assert "a file has this name" in capsys.readouterr().err


def test_the_line_to_go_on_with_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a space is quoted."""
    monkeypatch.chdir(tmp_path)

    assert 0 == call("init", "my shop")

    assert "cd 'my shop' && vertebra test" in capsys.readouterr().out


ENTRY = "import sys; from vertebra.cli.main import entry; sys.argv[0] = 'vertebra'; entry()"


def shell(line: str, *args: str | bytes, cwd: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The command as its console script, called by a line of a shell in which `"$@"` stands for it."""
    command = ["sh", "-c", line, "sh", sys.executable, "-c", ENTRY, *args]
    return subprocess.run(command, cwd=cwd, env=os.environ | variables, capture_output=True, check=False, timeout=60)


def test_text_is_written_whatever_letters_a_terminal_has(tmp_path: Path) -> None:
    """What it lacks is written by number, in text and in JSON, which stays the same document."""
    plain = shell('"$@"', "init", "läden", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    as_json = shell(
        '"$@"', "init", "läden \N{FAMILY}", "--json", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="1"
    )

    assert (0, b"") == (plain.returncode, plain.stderr)
    assert b"l\\u00e4den from" in plain.stdout
    assert str(tmp_path / "läden \N{FAMILY}") == json.loads(as_json.stdout)["folder"]


def test_a_closed_stream_is_no_defect(project: Path) -> None:
    """Some supervisors close what they do not read."""
    said = shell('"$@" <&- >&-', "tools", "list", cwd=project)

    assert (0, b"") == (said.returncode, said.stderr)


def test_a_removed_folder_is_told(tmp_path: Path) -> None:
    """A shell may stand where nothing is any more."""
    gone = tmp_path / "gone"
    gone.mkdir()

    said = shell('rmdir "$PWD"; "$@"', "check", cwd=gone)

    assert 2 == said.returncode
    assert said.stderr.startswith(b"error: this folder was removed; go to another one")


def test_a_refusal_of_the_machine_is_no_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may not write a file is told which one and what to look at; other errors of files stay defects."""

    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/shop/.vertebra/keys")

    def unforeseen(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/srv/shop/x")

    monkeypatch.setattr("vertebra.cli.main.app", refused)
    assert 2 == call("doctor")
    assert "error: /srv/shop/.vertebra/keys: Permission denied; check its owner" in capsys.readouterr().err

    monkeypatch.setattr("vertebra.cli.main.app", unforeseen)
    assert 1 == call("doctor")
    assert "defect of vertebra" in capsys.readouterr().err


def test_all_mistakes_of_a_graph_are_told_with_their_lines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails ends with 1, one complaint for each mistake."""
    file = project / "graphs" / "customer-support.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("prompt: draft@1", "prompt: daft@1").replace("- send -> end", "- sned -> end"), encoding="utf-8"
    )

    assert 1 == call("--project", str(project), "check", "--json")

    [found] = json.loads(capsys.readouterr().out)
    assert len(found["complaints"]) >= 2
    assert all(one["at"].startswith("graphs/customer-support.yaml:") for one in found["complaints"])


def test_a_copy_of_a_graph_has_to_be_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of one graph would be published in turn, and a name on a command line would mean one of them."""
    shutil.copy(project / "graphs/customer-support.yaml", project / "graphs/refunds.yaml")

    assert 1 == call("--project", str(project), "check")

    said = capsys.readouterr().out
    assert (
        "graphs/refunds.yaml:2: graph 'customer-support' stands in a file of another name; give both the same" in said
    )
    assert "customer-support@1.0.0 is sound" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nonsense",), 2, "No such command"),
        (("check", "custmer-support"), 2, "did you mean 'customer-support'"),
        (("runs", "list"), 2, "vertebra dev"),
        (("runs", "list", "--state", "done"), 2, "known are: running, awaiting_human"),
        (("audit", "export", "--out", "/nowhere/audit.jsonl"), 2, "no such folder"),
        (("approve", "ABC"), 2, "no key of"),
        (("budgets", "top-up", "r"), 2, "nothing to add"),
        (("budgets", "top-up", "r", "--usd", "free"), 2, "no amount of dollars"),
        (("contexts", "renew", "r", "--for", "long"), 2, "no length of time"),
        (("init", "x", "--template", "custmer-support"), 2, "did you mean"),
        (("audit", "verify", "--file", "/nowhere"), 2, "no such file"),
        (("worker",), 2, "VERTEBRA_TEMPORAL_ADDRESS"),
    ],
)
def test_an_error_is_one_message_and_a_code(
    project: Path, words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing on standard output, what and what to do on standard error, never a traceback."""
    if words == ("worker",):
        monkeypatch.setenv("VERTEBRA_TEMPORAL_ADDRESS", "127.0.0.1:1")
        code = 4
    found = call("--project", str(project), *words)

    told = capsys.readouterr()
    assert (code, "") == (found, told.out)
    assert said in " ".join(told.err.split())
    assert "Traceback" not in told.err


def test_outside_a_project_the_remedy_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that needs a project says how to make one."""
    assert 2 == call("--project", str(tmp_path), "check")

    assert "vertebra init" in capsys.readouterr().err


def test_a_service_that_is_away_is_code_4(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set address where nobody listens is no mistake of who typed."""
    monkeypatch.setenv("VERTEBRA_API_DSN", "postgresql://vertebra_api:hunter2-canary@127.0.0.1:1/x")

    assert 4 == call("--project", str(project), "runs", "list")

    assert "hunter2-canary" not in capsys.readouterr().err


def test_a_mistyped_setting_stops_every_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name is told."""
    (project / "vertebra.toml").write_text('nmae = "x"\n')

    assert 2 == call("--project", str(project), "check")

    assert "did you mean 'name'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("audit", "trace"), ("audit", "query", "--run"), ("show",), ("deny", "A", "--reason")], ids=" ".join
)
def test_a_word_that_is_no_text_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that no encoding explains come from a shell as half a pair, which neither a database nor a key takes."""
    assert 2 == call(*words, "\udcff")

    assert "is no UTF-8 text" in capsys.readouterr().err
