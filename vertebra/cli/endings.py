"""The exit codes, and which error has which."""

from __future__ import annotations

from vertebra.schemas.errors import (
    BadArguments,
    BadInput,
    Conflict,
    NotFound,
    SettingsError,
    StoreError,
    TamperedRow,
    VertebraError,
)

DONE = 0
FAILED = 1
"""The run or check failed, or somebody may not do this."""
USAGE = 2
"""What was asked for does not exist or is written wrongly."""
NEEDS_PERSON = 3
UNREACHABLE = 4
"""A service cannot be reached."""


def code_of(error: VertebraError) -> int:
    """The exit code of an error, by who must act."""
    if isinstance(error, BadInput | BadArguments | NotFound | SettingsError):
        return USAGE
    if isinstance(error, Conflict | TamperedRow):
        return FAILED
    return UNREACHABLE if isinstance(error, StoreError) else FAILED
