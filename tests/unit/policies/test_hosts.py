"""Allow-lists of hosts."""

from __future__ import annotations

import pytest

from vertebra.policies.hosts import Target, covers, has_port, is_rule


def _to(host: str, scheme: str = "https", port: int = 443) -> Target:
    return Target(scheme, host, port)


@pytest.mark.parametrize(
    ("rule", "target", "covered"),
    [
        ("api.example.org", _to("api.example.org"), True),
        ("api.example.org", _to("api.example.org", "http", 80), True),
        ("api.example.org", _to("api.example.org", port=8443), False),
        ("api.example.org", _to("example.org"), False),
        ("api.example.org", _to("evil-api.example.org"), False),
        ("api.example.org", _to("api.example.org.evil.org"), False),
        ("api.example.org:8443", _to("api.example.org", port=8443), True),
        ("api.example.org:8443", _to("api.example.org"), False),
        ("*.example.org", _to("a.b.example.org"), True),
        ("*.example.org", _to("example.org"), False),
        ("*.example.org", _to("evilexample.org"), False),
        ("*", _to("anything.example"), True),
        ("*", _to("anything.example", port=22), False),
        ("[::1]:8080", _to("::1", "http", 8080), True),
    ],
)
def test_a_rule_covers_exactly_what_it_says(rule: str, target: Target, covered: bool) -> None:
    """A host rule covers its host on the web's ports, or on the one port that it names."""
    assert covered is covers([rule], target)


def test_nothing_is_covered_without_a_rule() -> None:
    """An empty list lets nothing leave."""
    assert covers([], _to("api.example.org")) is False


@pytest.mark.parametrize("text", ["", "http://a.b", "a b", "a.b/c", "a.b:0", "a.b:70000", "*.*", "A.B", "a@b", "**"])
def test_what_is_no_rule_is_told(text: str) -> None:
    """Addresses, blanks, upper case and impossible ports are no rules."""
    assert is_rule(text) is False


def test_a_rule_for_one_port_is_told_apart() -> None:
    """Only a rule for one host and one port may be a host inside."""
    found = [has_port(rule) for rule in ("a.b:80", "a.b", "*.a.b:80", "*")]

    assert [True, False, False, False] == found
