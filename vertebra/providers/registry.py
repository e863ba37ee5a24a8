"""Every model vendor that this release knows, in one list: its id and how its adapter is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from vertebra.providers import anthropic, openai
from vertebra.providers.exchange import VendorProvider
from vertebra.providers.protocol import Provider
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import SettingsError


@dataclass(frozen=True)
class Setup:
    """What the adapters of one worker are made from."""

    replies: Mapping[str, Json] = field(default_factory=dict)
    """Of `scripted`: node to the parsed value of its reply file."""
    sales: Path | None = None
    """Of `scripted`: the file to which it appends each sale."""
    endpoints: Mapping[str, str | None] = field(default_factory=dict)
    """Addresses to which the operator lets requests be sent, each with the name of the secret that goes there."""


Factory = Callable[[Setup], Provider]

FACTORIES: dict[str, Factory] = {
    "anthropic": lambda setup: VendorProvider(anthropic.VENDOR, setup.endpoints),
    "openai": lambda setup: VendorProvider(openai.VENDOR, setup.endpoints),
    "scripted": lambda setup: ScriptedProvider(setup.replies, setup.sales),
}
ALIASES: Mapping[str, str] = {"chatgpt": "openai"}
"""Other words for an id, which authors may write; what is compiled holds the id."""
DEFAULT_MODELS: Mapping[str, str] = {"anthropic": "claude-haiku-4-5", "openai": "gpt-5-mini"}
"""What the live demo asks, and the tests: the one place that names models, since vendors end their lives."""


def known_words() -> dict[str, str]:
    """Every word that a graph may write as its provider, with the id that it stands for."""
    return {**{name: name for name in FACTORIES}, **ALIASES}


class Providers:
    """The vendors of one worker, each made once."""

    def __init__(self, offered: Iterable[Provider]) -> None:
        self._offered = {provider.name: provider for provider in offered}

    def get(self, name: str) -> Provider:
        """The adapter of one id. Raises SettingsError with the nearest known id."""
        if name in self._offered:
            return self._offered[name]
        near = get_close_matches(name, self._offered, 1)
        known = f"did you mean {near[0]!r}?" if near else f"this worker offers {', '.join(sorted(self._offered))}"
        raise SettingsError(f"unknown provider {name!r}", do=known)

    async def aclose(self) -> None:
        """Give back all connections."""
        for provider in self._offered.values():
            await provider.aclose()


def make_providers(setup: Setup, factories: Mapping[str, Factory] = FACTORIES) -> Providers:
    """One adapter per id. Nothing is imported, opened or asked for until the first call."""
    return Providers(factory(setup) for factory in factories.values())
