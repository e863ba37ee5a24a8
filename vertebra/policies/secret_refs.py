"""References to secrets as authors write them: `secret://env/NAME` or `secret://file/PATH`, alone or after a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vertebra.policies.hosts import Target, covers, is_rule
from vertebra.schemas.ids import SECRET

_REFERENCE = re.compile(rf"(?:{SECRET.pattern})\Z")
SECRET_RULE = "write REFERENCE@HOST, such as secret://env/SHOP_KEY@api.shop.example"  # noqa: S105  # no secret


def is_reference(text: str) -> bool:
    """Whether the whole text is a reference."""
    return _REFERENCE.match(text) is not None


def reference_in(text: str) -> str | None:
    """The reference that a literal ends in, if any."""
    found = _REFERENCE.search(text)
    return found[0] if found else None


def without_reference(text: str) -> str:
    """A literal without the reference that it ends in."""
    return _REFERENCE.sub("", text)


def is_secret_rule(text: str) -> bool:
    """Whether this is an operator's rule `REFERENCE@HOST`."""
    reference, at, host = text.rpartition("@")
    return bool(at) and is_reference(reference) and is_rule(host)


def may_send(rules: Iterable[str], reference: str, target: Target) -> bool:
    """Whether the operator lets this secret be sent to this host."""
    pairs = (rule.rpartition("@") for rule in rules)
    return any(reference == allowed and covers([host], target) for allowed, _, host in pairs)
