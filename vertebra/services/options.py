"""What the supervisor may use of the machine, read from the environment once, at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_BUILD_VARIABLES = (
    *("HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE", "GOTOOLCHAIN", "GOENV"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_CHILD_VARIABLES = ("HOME", "PATH", "TMPDIR", "LANG", "TZ")


@dataclass(frozen=True)
class ServiceOptions:
    """Where programs are found or made, and which of them run."""

    cache: Path
    """Our cache folder: holds the `temporal` binary under a name with its version."""
    path: str = "/usr/local/bin:/usr/bin:/bin"
    """Where programs (`temporal`, `go`, `unshare`, `setpriv`) are looked for."""
    temporal_cli: Path | None = None
    """The `temporal` binary to use and no other."""
    postgres: Literal[16, 18] = 16
    """Which of the two servers of the wheel runs."""
    usual_ports: bool = True
    """Whether the usual ports are tried first; else all come from the kernel, and two at once never meet."""
    web_ui: bool = True
    """Whether Temporal serves its Web UI."""
    may_download: bool = True
    """Whether the SDK may download a `temporal` binary into the cache."""
    may_build: bool = True
    """Whether Go may build one into the cache."""
    child_env: Mapping[str, str] = field(default_factory=dict)
    """The environment of Postgres and Temporal."""
    build_env: Mapping[str, str] = field(default_factory=dict)
    """The environment of the Go build."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ServiceOptions:
        """The options that the environment gives: VERTEBRA_TEMPORAL_CLI, XDG_CACHE_HOME, HOME, PATH and Go's own."""
        home = Path(environ.get("HOME") or Path.home())
        cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
        cli = environ.get("VERTEBRA_TEMPORAL_CLI")
        return cls(
            cache=cache / "vertebra",
            path=environ.get("PATH") or cls.path,
            temporal_cli=Path(cli).absolute() if cli else None,
            child_env={name: environ[name] for name in _CHILD_VARIABLES if name in environ},
            build_env={name: environ[name] for name in _BUILD_VARIABLES if name in environ},
        )
