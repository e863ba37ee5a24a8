from __future__ import annotations

import json
from pathlib import Path

import pytest

from vertebra.cli.main import main


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A new project on a machine with an empty PATH and an empty cache."""
    for name in ("PATH", "HOME", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("VERTEBRA_TEMPORAL_CLI", raising=False)
    assert 0 == call("init", str(tmp_path / "shop"))
    capsys.readouterr()
    return tmp_path / "shop"


def call(*args: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(args)
    return ended.value.code


def checks(project: Path, capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, str]]:
    assert code == call("--project", str(project), "doctor", "--json")
    said = capsys.readouterr()
    assert "" == said.err
    return {one["name"]: one for one in json.loads(said.out)["checks"]}


def test_what_is_missing_is_told_with_its_remedy(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without programs, keys and services the doctor ends well, and says of each how to get it."""
    found = checks(bare, capsys, 0)

    remedies = {
        "temporal program": "VERTEBRA_TEMPORAL_CLI=",
        "go": "install Go",
        "keys": "`vertebra dev` makes them",
        "database": "start `vertebra dev`",
        "temporal": "`vertebra dev`",
    }
    for name, remedy in remedies.items():
        assert "missing" == found[name]["state"], name
        assert remedy in found[name]["detail"], name


@pytest.mark.parametrize(
    ("words", "told"),
    [(["make"], "a worker's: seal and audit"), (["make", "--person", "ada"], "ada signs with key ")],
)
def test_a_machine_of_production_holds_the_keys_of_its_part(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    """A worker's machine signs for nobody, and a person's checks no seals: each is in order."""
    monkeypatch.setenv("VERTEBRA_PERSON", "ada")
    call("--project", str(bare), "keys", *words)
    capsys.readouterr()

    found = checks(bare, capsys, 0)["keys"]

    assert "ok" == found["state"]
    assert found["detail"].startswith(told)


def test_a_machine_that_lost_one_of_its_keys_is_told(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of a worker's keys are no worker's keys."""
    call("--project", str(bare), "keys", "make")
    capsys.readouterr()
    (bare / ".vertebra" / "keys" / "seal.key").unlink()

    found = checks(bare, capsys, 1)["keys"]

    assert "wrong" == found["state"]
    assert "seal.key" in found["detail"]


def test_a_temporal_program_that_is_none_is_wrong(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody set, and does not work, is a failure: `dev` would not look elsewhere."""
    monkeypatch.setenv("VERTEBRA_TEMPORAL_CLI", str(bare / "vertebra.toml"))

    found = checks(bare, capsys, 1)

    assert "wrong" == found["temporal program"]["state"]
    assert "unset it" in found["temporal program"]["detail"]


def test_services_that_are_away_are_wrong(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses where nobody listens: two checks fail, each with what to do."""
    monkeypatch.setenv("VERTEBRA_API_DSN", "postgresql://vertebra_api@127.0.0.1:1/x")
    monkeypatch.setenv("VERTEBRA_TEMPORAL_ADDRESS", "127.0.0.1:1")

    found = checks(bare, capsys, 1)

    for name in ("database", "temporal"):
        assert "wrong" == found[name]["state"]
        assert "vertebra dev" in found[name]["detail"]
