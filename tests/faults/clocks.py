"""A process's clock that can be set while it runs, by libfaketime; the clock that only measures is spared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_PLACES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime")
_NAME = "libfaketimeMT.so.1"
LIBRARY = next((Path(place, _NAME) for place in _PLACES if Path(place, _NAME).is_file()), None)
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="not run: no libfaketime (Debian: faketime)")


@dataclass(frozen=True)
class Clock:
    """How far a process's clock is off: `+2h`, `-1d`, `+0`."""

    file: Path

    def set(self, offset: str) -> None:
        """Within two seconds. In one step: a reader of half a file would see another time."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(offset)
        os.replace(fresh, self.file)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the process needs in its environment."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def new_clock(folder: Path, name: str) -> Clock:
    """A clock that is right until it is set."""
    clock = Clock(folder / f"{name}.clock")
    clock.set("+0")
    return clock
