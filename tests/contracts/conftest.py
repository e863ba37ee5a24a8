"""Servers that the contract tests of vendors run against."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contracts.vendors.cases import IMITATED, RIGS
from tests.contracts.vendors.imitation import Imitation, NotInstalled, found, install, running
from tests.contracts.vendors.rigs import ImitationRig, Rig, ScriptedRig, WireRig
from tests.contracts.vendors.wire_server import WireServer
from tests.contracts.vendors.words import AnthropicWords, OpenAIWords


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install the imitation before the first test, whose time limit is not meant for that."""
    if session.config.option.collectonly or not any(item.path.name == "test_vendors.py" for item in session.items):
        return
    try:
        install()
    except (NotInstalled, OSError, subprocess.SubprocessError) as error:
        session.config.get_terminal_writer().line(f"the imitation of the vendors is not there: {error}")


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    server = WireServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def imitation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imitation]:
    """One process for the session."""
    try:
        program = found()
    except NotInstalled as why:
        pytest.skip(str(why))
    with running(program, tmp_path_factory.mktemp("imitation")) as imitation:
        yield imitation


@pytest.fixture
async def anthropic(server: WireServer) -> AsyncIterator[WireRig]:
    rig = WireRig(AnthropicWords(), server)
    yield rig
    await rig.provider.aclose()


@pytest.fixture
async def openai(server: WireServer) -> AsyncIterator[WireRig]:
    rig = WireRig(OpenAIWords(), server)
    yield rig
    await rig.provider.aclose()


@pytest.fixture
async def rig(request: pytest.FixtureRequest, server: WireServer) -> AsyncIterator[Rig]:
    """The vendor that the test is parametrised with."""
    assert request.param in RIGS
    vendor, _, at = request.param.partition(", ")
    made: Rig
    if not at:
        made = ScriptedRig()
    else:
        words = AnthropicWords() if vendor == "anthropic" else OpenAIWords()
        made = ImitationRig(words, request.getfixturevalue("imitation")) if at == IMITATED else WireRig(words, server)
    yield made
    await made.provider.aclose()


@pytest.fixture(scope="module")
def passed() -> set[tuple[str, str]]:
    """Which vendor passed which case in this session."""
    return set()


@pytest.fixture(scope="session")
def vendors_page() -> str:
    return (Path(__file__).parent.parent.parent / "docs/vendors.md").read_text(encoding="utf-8")
