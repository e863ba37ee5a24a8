"""How programs are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.schemas.errors import SettingsError
from vertebra.services.launch import Launch, stand_in


def test_the_kernel_ends_a_child_with_its_parent() -> None:
    """Where setpriv is, every child has a parent-death signal."""
    assert ("/s", "--pdeathsig", "INT", "a", "b") == Launch("/s", "/u", needs_namespace=False).argv(["a", "b"])


def test_without_setpriv_the_program_starts_bare() -> None:
    """Elsewhere the watchdog alone ends it."""
    assert ("a", "b") == Launch(None, None, needs_namespace=False).argv(["a", "b"])


def test_an_ordinary_user_needs_no_namespace() -> None:
    """Postgres accepts an ordinary user as it is."""
    assert ("/s", "--pdeathsig", "INT", "postgres") == Launch("/s", None, needs_namespace=False).postgres(["postgres"])


def test_root_without_the_tools_is_told_the_way_out() -> None:
    """The error names the setting that makes the local Postgres unnecessary."""
    with pytest.raises(SettingsError, match=r"util-linux.*VERTEBRA_DATABASE_URL"):
        Launch(None, None, needs_namespace=True).postgres(["postgres"])


def test_root_without_user_namespaces_is_told_the_way_out(tmp_path: Path) -> None:
    """The kernel's own reason is in the error."""
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)

    with pytest.raises(SettingsError, match=r"Operation not permitted.*VERTEBRA_DATABASE_URL"):
        Launch("/usr/bin/setpriv", str(refusing), needs_namespace=True).postgres(["postgres"])


def test_the_stand_in_has_a_name() -> None:
    """Where no user 1000 exists, as in a bare container, another named one is taken; root never."""
    assert 1000 == stand_in([0, 1, 1000, 65534])
    assert 65534 == stand_in([0, 1, 65534])
    with pytest.raises(SettingsError, match="nobody but root"):
        stand_in([0])
