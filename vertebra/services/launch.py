"""How a program is started so that it dies with us, and so that Postgres starts for root too."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from vertebra.schemas.errors import SettingsError

_NAMESPACE = ("--user", "--map-user=1000", "--map-group=1000")


@dataclass(frozen=True)
class Launch:
    """The words put before a program: a parent-death signal, and for Postgres under root a user namespace."""

    setpriv: str | None
    unshare: str | None
    is_root: bool

    @classmethod
    def on(cls, path: str) -> Launch:
        """What this machine offers; programs are looked for in `path`."""
        return cls(shutil.which("setpriv", path=path), shutil.which("unshare", path=path), os.geteuid() == 0)

    def argv(self, program: Sequence[str]) -> tuple[str, ...]:
        """`program`, interrupted by the kernel when the thread that started it ends. Elsewhere the watchdog does it."""
        if self.setpriv is None:
            return tuple(program)
        return (self.setpriv, "--pdeathsig", "INT", *program)

    def postgres(self, program: Sequence[str]) -> tuple[str, ...]:
        """`program` as a user that Postgres accepts: files stay the caller's and nothing is chowned."""
        if not self.is_root:
            return self.argv(program)
        self._check_namespace()
        return (str(self.unshare), *_NAMESPACE, *self.argv(program))

    def _check_namespace(self) -> None:
        """Raise SettingsError unless root can start a program in a user namespace here."""
        if self.unshare is None or self.setpriv is None:
            raise _no_namespace("`unshare` and `setpriv` (util-linux) are missing")
        tried = subprocess.run([self.unshare, *_NAMESPACE, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise _no_namespace(tried.stderr.strip() or f"exit code {tried.returncode}")


def _no_namespace(reason: str) -> SettingsError:
    return SettingsError(
        f"Postgres refuses to run as root, and user namespaces are not available here ({reason})",
        do="start vertebra as an ordinary user, or set VERTEBRA_DATABASE_URL to a Postgres that runs elsewhere",
    )
