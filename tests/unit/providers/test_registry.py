"""The list of vendors, and how a new one joins it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vertebra.providers.protocol import Place
from vertebra.providers.registry import FACTORIES, Setup, make_providers
from vertebra.schemas.errors import SettingsError
from vertebra.schemas.llm import ModelReply, ModelRequest, ModelUsage, UserMessage


class Echo:
    """A vendor in one class: all that a new one needs."""

    name = "echo"

    def secret(self, endpoint: str | None) -> str | None:
        return None

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        return ModelReply(
            content=request.text,
            usage=ModelUsage(input=1, output=1),
            finish_reason="completed",
            provider=self.name,
            model=request.model,
        )

    async def aclose(self) -> None:
        return None


async def test_a_new_vendor_is_one_class() -> None:
    """A class with a name and `complete` is offered like those of this release."""
    providers = make_providers(Setup(), {**FACTORIES, "echo": lambda _: Echo()})
    request = ModelRequest(provider="echo", model="m", messages=(UserMessage(text="hi"),))

    reply = await providers.get("echo").complete(request, Place("r", "n", 1), timeout_s=1, key=None)

    assert "hi" == reply.content
    await providers.aclose()


def test_ids_are_names() -> None:
    """Each adapter is listed under the name that it gives itself, and says where its key is kept."""
    assert {name: factory(Setup()).name for name, factory in FACTORIES.items()} == {name: name for name in FACTORIES}
    providers = make_providers(Setup())
    assert "secret://env/ANTHROPIC_API_KEY" == providers.get("anthropic").secret(None)
    assert "secret://env/OPENAI_API_KEY" == providers.get("openai").secret(None)


def test_unknown_vendor_is_refused_with_the_nearest() -> None:
    """A misspelt id names the one that was meant."""
    with pytest.raises(SettingsError, match="did you mean 'anthropic'"):
        make_providers(Setup()).get("antropic")


def test_no_vendor_is_imported_before_its_first_call() -> None:
    """Making all adapters imports no vendor's client, which would take a second of every start."""
    code = (
        "import sys; from vertebra.providers.registry import Setup, make_providers; make_providers(Setup());"
        "sys.exit(any(name in sys.modules for name in ('anthropic', 'openai', 'httpx2')))"
    )

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
