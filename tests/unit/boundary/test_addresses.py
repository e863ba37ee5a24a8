"""Which addresses are public. What is not is tried in tests/attacks/test_egress.py."""

from __future__ import annotations

import pytest

from vertebra.boundary.addresses import is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    """Public hosts are reached, also through the translation of networks that have IPv6 only."""
    assert is_public(address) is True


@pytest.mark.parametrize("text", ["", "example.org", "8.8.8.8/32", "2606:4700::1111%eth0"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Anything that is not exactly one address is refused."""
    assert is_public(text) is False
