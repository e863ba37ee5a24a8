"""What `vertebra logs` shows of the lines that worker and services wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vertebra.cli.log_lines import without_secrets
from vertebra.cli.main import main

WORKER = [
    {"event": "working", "level": "info", "timestamp": "2026-01-31T09:00:00.100000Z", "worker": "1@x"},
    {"event": "asked", "level": "info", "timestamp": "2026-01-31T09:00:02.000000Z", "run": "r-1", "agent": "writer"},
    {"event": "failed", "level": "error", "timestamp": "2026-01-31T09:00:03.000000Z", "run": "r-2", "agent": "writer"},
    {"event": "bad\x1b[31m", "level": "warning", "timestamp": "2026-01-31T09:00:04.000000Z", "run": "r-1"},
]
POSTGRES = (
    "2026-01-31 09:00:01.500 UTC [7] LOG:  ready\n"
    "2026-01-31 09:00:02.500 UTC [9] ERROR:  could not connect to postgresql://gate:hunter2-canary@localhost/x\n"
    "and a line without a time\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with two logs."""
    (tmp_path / "vertebra.toml").write_text('name = "x"\n')
    logs = tmp_path / ".vertebra" / "logs"
    logs.mkdir(parents=True)
    (logs / "worker.log").write_text("".join(json.dumps(line) + "\n" for line in WORKER))
    (logs / "postgres.log").write_text(POSTGRES)
    return tmp_path


def said(project: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines of one command that works."""
    with pytest.raises(SystemExit) as ended:
        main(["--project", str(project), "logs", *words])
    out = capsys.readouterr()
    assert 0 == ended.value.code, out.err
    return out.out.splitlines()


def test_what_temporals_library_says_is_a_line_like_any_other(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its level counts, its message is shown, and its details are there for programs."""
    told = {"timestamp": "2026-01-31T09:00:05.0Z", "level": "WARN", "fields": {"message": "not found", "details": "x"}}
    with (project / ".vertebra/logs/worker.log").open("a") as log:
        log.write(json.dumps({**told, "target": "core"}) + "\n")

    last = said(project, capsys, "--level", "warning", "--service", "worker")[-1]
    [*_, plain] = said(project, capsys, "--json", "--service", "worker")

    assert ["worker", "warn", "not", "found", "target=core"] == last.split()[2:]
    assert "x" == json.loads(plain)["fields"]["details"]


def test_services_are_shown_in_the_order_of_time(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of two services are one story; a line without a time stays behind the one before it."""
    lines = said(project, capsys)

    order = ["working", "ready", "asked", "could not connect", "without a time", "failed", "bad"]
    assert all(word in line for word, line in zip(order, lines, strict=True)), lines
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "events"),
    [
        (("--agent", "writer"), ["asked", "failed"]),
        (("--run", "r-1"), ["asked", "bad\x1b[31m"]),
        (("--run", "r-1", "--agent", "writer"), ["asked"]),
        (("--level", "error", "--service", "worker"), ["failed"]),
        (("--service", "worker", "-n", "1"), ["bad\x1b[31m"]),
        (("--run", "nobody"), []),
    ],
)
def test_filters(project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], events: list[str]) -> None:
    """What does not fit is not shown; as JSON, each line is one object with its service."""
    lines = [json.loads(line) for line in said(project, capsys, "--json", *words)]

    assert events == [line["event"] for line in lines]
    assert {"worker"} >= {line["service"] for line in lines}


def test_where_no_line_fits_it_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the answer, which stays empty: whoever looks for a run that went well is told where it stands."""
    with pytest.raises(SystemExit) as ended:
        main(["--project", str(project), "logs", "--agent", "nobody"])

    out = capsys.readouterr()
    assert (0, "") == (ended.value.code, out.out)
    assert "vertebra show RUN" in out.err


def test_no_secret_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password that a service wrote into its log stays there."""
    shown = "\n".join([*said(project, capsys), *said(project, capsys, "--json")])

    assert "could not connect" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "dsn=postgresql://a:CANARY9@h/db",
        'header {"Authorization": "Bearer CANARY9.abc"}',
        "api_key = CANARY9",
        "OPENAI_API_KEY=CANARY9",
        "password: CANARY9",
        "used sk-CANARY9abcdef",
        '{"client_secret":"CANARY9"}',
    ],
)
def test_secrets_are_hidden_in_every_dress(text: str) -> None:
    """URLs, headers, settings, JSON."""
    assert "CANARY9" not in without_secrets(text)


def test_numbers_of_tokens_are_no_secret() -> None:
    """A budget's figures stay readable."""
    assert '{"tokens": 812, "total_tokens": 9}' == without_secrets('{"tokens": 812, "total_tokens": 9}')


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--level", "loud"), "debug, info, warning, error"), (("--service", "mail"), "postgres, worker")],
)
def test_wrong_words_list_the_known(
    project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """A usage error."""
    with pytest.raises(SystemExit) as ended:
        main(["--project", str(project), "logs", *words])

    assert 2 == ended.value.code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_odd_lines_are_shown_as_they_are(
    project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Whatever a service or library writes, the lines around it are shown."""
    odd = ['{"a":' + "[" * 100_000, '{"event": "half \\ud800"}', '{"event": [1], "level": {}}', "{}", "x" * 500_000]
    (project / ".vertebra" / "logs" / "worker.log").write_text("\n".join([*odd, json.dumps(WORKER[1])]) + "\n")

    found = said(project, capsys, "--service", "worker", *words)

    assert len(odd) + 1 == len(found)
    assert "asked" in found[-1]
