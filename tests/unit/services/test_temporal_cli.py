"""Where the `temporal` binary comes from, with small scripts in the place of the real ones."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vertebra.schemas.errors import SettingsError
from vertebra.services import temporal_cli
from vertebra.services.options import ServiceOptions

_GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo "go: downloading example.com/a v1.0.0" >&2
echo run >> {count}
{work}
"""
_WORK = """sleep 0.3
mkdir -p "$GOBIN" "$GOPATH/pkg/mod" "$GOCACHE"
echo '#!/bin/sh
echo "CLI 0.0.0-DEV (Server 1.29.1, UI 2.42.1)"' > "$GOBIN/temporal"
chmod +x "$GOBIN/temporal"
"""


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _cli(path: Path, version: str) -> Path:
    return _program(path, f"#!/bin/sh\necho 'temporal version 1.9.9 (Server {version}, UI 2.42.1)'\n")


@pytest.fixture
def options(tmp_path: Path) -> ServiceOptions:
    """No network, and no Go unless a test puts one into the folder `bin`."""
    return ServiceOptions(cache=tmp_path / "cache", path=f"{tmp_path}/bin:/usr/bin:/bin", may_download=False)


@pytest.fixture
def lines() -> list[str]:
    return []


async def test_the_given_binary_comes_first(options: ServiceOptions, tmp_path: Path, lines: list[str]) -> None:
    """The setting beats what is on PATH."""
    _cli(tmp_path / "bin" / "temporal", "1.30.0")
    given = replace(options, temporal_cli=_cli(tmp_path / "mine", "1.31.2"))

    found = await temporal_cli.find_or_make(given, lines.append)

    assert temporal_cli.TemporalCli(tmp_path / "mine", "1.31.2") == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("#!/bin/sh\necho temporal version 1.1\n", "names no server"),
        ("#!/bin/sh\necho 'Server 1.28.9'\n", r"server is 1\.28\.9"),
        ("#!/bin/sh\nexit 1\n", "not Temporal's CLI"),
        ("not a program", "Exec format error"),
    ],
)
async def test_a_given_binary_that_does_not_serve_is_an_error(
    options: ServiceOptions, tmp_path: Path, lines: list[str], text: str | None, reason: str
) -> None:
    """The setting is never passed over in silence: the error names the variable and the reason."""
    if text is not None:
        _program(tmp_path / "mine", text)
    given = replace(options, temporal_cli=tmp_path / "mine")

    with pytest.raises(SettingsError, match=rf"VERTEBRA_TEMPORAL_CLI names .*{reason}"):
        await temporal_cli.find_or_make(given, lines.append)


async def test_path_comes_before_the_cache(options: ServiceOptions, tmp_path: Path, lines: list[str]) -> None:
    """What the user installed is preferred to what we fetched."""
    on_path = _cli(tmp_path / "bin" / "temporal", "1.30.0")
    _cli(options.cache / temporal_cli.cached_names()[0], "1.29.1")

    found = await temporal_cli.find_or_make(options, lines.append)

    assert on_path == found.path


async def test_an_old_one_on_path_is_passed_over(options: ServiceOptions, tmp_path: Path, lines: list[str]) -> None:
    """A server that is too old is named and not used; the cache serves."""
    _cli(tmp_path / "bin" / "temporal", "1.22.0")
    cached = _cli(options.cache / temporal_cli.cached_names()[0], "1.29.1")

    found = await temporal_cli.find_or_make(options, lines.append)

    assert cached == found.path
    assert "passed over: its server is 1.22.0" in lines[0]


async def test_neither_go_nor_network(options: ServiceOptions, tmp_path: Path, lines: list[str]) -> None:
    """The error says what is missing and the three ways out, and the cache holds nothing half-made."""
    if shutil.which("go", path="/usr/bin:/bin"):
        pytest.skip("not run: Go is in the system's own folder")

    with pytest.raises(SettingsError, match=r"there is no Go.*install Go 1\.25.*VERTEBRA_TEMPORAL_CLI"):
        await temporal_cli.find_or_make(options, lines.append)

    assert ["build.lock"] == [file.name for file in options.cache.iterdir()]


async def test_no_network_fails_at_once(
    options: ServiceOptions, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's download gives up cleanly where nothing answers."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    offline = replace(options, may_download=True, may_build=False)

    async with asyncio.timeout(20):
        with pytest.raises(SettingsError, match="the SDK cannot download it"):
            await temporal_cli.find_or_make(offline, lines.append)

    assert ["build.lock"] == [file.name for file in options.cache.iterdir()]


async def test_go_builds_it_and_only_the_binary_stays(
    options: ServiceOptions, tmp_path: Path, lines: list[str]
) -> None:
    """The module cache of 3 GB is gone afterwards, and so is what a killed build had left."""
    _program(tmp_path / "bin" / "go", _GO.format(version="go1.26.1", count=tmp_path / "count", work=_WORK))
    (options.cache / "build-old" / "cache").mkdir(parents=True)

    found = await temporal_cli.find_or_make(options, lines.append)

    assert temporal_cli.TemporalCli(options.cache / "temporal-v1.5.1", "1.29.1") == found
    assert {"build.lock", "temporal-v1.5.1"} == {file.name for file in options.cache.iterdir()}
    assert "two to three minutes" in lines[0]


async def test_two_at_once_build_once(options: ServiceOptions, tmp_path: Path, lines: list[str]) -> None:
    """The second waits for the first and takes its binary."""
    _program(tmp_path / "bin" / "go", _GO.format(version="go1.26.1", count=tmp_path / "count", work=_WORK))

    first, second = await asyncio.gather(*(temporal_cli.find_or_make(options, lines.append) for _ in range(2)))

    assert first == second
    assert "run\n" == (tmp_path / "count").read_text()
    assert "another process is fetching the Temporal server; waiting for it" in lines


@pytest.mark.parametrize(
    ("version", "work", "reason"),
    [
        ("go1.22.4", _WORK, r"Go is go1\.22, and 1\.25 or newer is needed"),
        ("go1.26.0", "echo 'dial tcp: lookup proxy.golang.org: no such host' >&2; exit 1", "no such host"),
    ],
)
async def test_a_build_that_cannot_be_leaves_nothing(
    options: ServiceOptions, tmp_path: Path, lines: list[str], version: str, work: str, reason: str
) -> None:
    """Go's own words are in the error, and no folder stays behind."""
    _program(tmp_path / "bin" / "go", _GO.format(version=version, count=tmp_path / "count", work=work))

    with pytest.raises(SettingsError, match=reason):
        await temporal_cli.find_or_make(options, lines.append)

    assert ["build.lock"] == [file.name for file in options.cache.iterdir()]


def test_the_environment_is_read_once() -> None:
    """Options come from the given mapping alone; the children get no setting of ours."""
    options = ServiceOptions.from_environ(
        {"HOME": "/h", "PATH": "/p", "VERTEBRA_TEMPORAL_CLI": "/t", "VERTEBRA_SECRET": "s", "GOPROXY": "off"}
    )

    assert (Path("/h/.cache/vertebra"), Path("/t"), "/p") == (options.cache, options.temporal_cli, options.path)
    assert {"HOME": "/h", "PATH": "/p"} == options.child_env
    assert {"HOME": "/h", "GOPROXY": "off"} == options.build_env
