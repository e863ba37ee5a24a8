"""How a program is started so that it dies with us, and so that Postgres starts for root too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vertebra.schemas.errors import SettingsError

_LIKED_USER = 1000


@dataclass(frozen=True)
class Launch:
    """The words put before a program: a parent-death signal, and for Postgres under root a user namespace."""

    setpriv: str | None
    unshare: str | None
    needs_namespace: bool
    """Postgres takes neither root nor a user without a name."""

    @classmethod
    def on(cls, path: str) -> Launch:
        """What this machine offers; programs are looked for in `path`."""
        needs_namespace = os.geteuid() == 0 or os.geteuid() not in _named_users()
        return cls(shutil.which("setpriv", path=path), shutil.which("unshare", path=path), needs_namespace)

    def argv(self, program: Sequence[str]) -> tuple[str, ...]:
        """`program`, interrupted by the kernel when the thread that started it ends. Elsewhere the watchdog does it."""
        if self.setpriv is None:
            return tuple(program)
        return (self.setpriv, "--pdeathsig", "INT", *program)

    def postgres(self, program: Sequence[str]) -> tuple[str, ...]:
        """`program` as a user that Postgres accepts: files stay the caller's and nothing is chowned."""
        if not self.needs_namespace:
            return self.argv(program)
        if self.unshare is None or self.setpriv is None:
            raise _no_namespace("`unshare` and `setpriv` (util-linux) are missing")
        user = stand_in(_named_users())
        entering = (self.unshare, "--user", f"--map-user={user}", f"--map-group={user}")
        tried = subprocess.run([*entering, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise _no_namespace(tried.stderr.strip() or f"exit code {tried.returncode}")
        return (*entering, *self.argv(program))


def stand_in(named: Collection[int]) -> int:
    """The user that Postgres believes to be: initdb wants its number to have a name in /etc/passwd."""
    if _LIKED_USER in named:
        return _LIKED_USER
    others = [user for user in named if user != 0]
    if not others:
        raise _no_namespace("/etc/passwd names nobody but root")
    return max(others)  # `nobody` almost everywhere


def _named_users() -> frozenset[int]:
    return frozenset(entry.pw_uid for entry in pwd.getpwall())


def _no_namespace(reason: str) -> SettingsError:
    return SettingsError(
        f"Postgres does not run as user {os.geteuid()}, and user namespaces are not available here ({reason})",
        do="start vertebra as an ordinary user, or set VERTEBRA_DATABASE_URL to a Postgres that runs elsewhere",
    )
