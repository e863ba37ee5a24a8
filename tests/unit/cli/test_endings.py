from __future__ import annotations

import pytest

from vertebra.cli.endings import FAILED, UNREACHABLE, USAGE, code_of
from vertebra.schemas import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInput("x"), USAGE),
        (errors.NotFound("x"), USAGE),
        (errors.SettingsError("x"), USAGE),
        (errors.BadArguments("x"), USAGE),
        (errors.PermissionDenied("x"), FAILED),
        (errors.ApprovalClosed("x"), FAILED),
        (errors.Complaints([errors.BadFile("x")]), FAILED),
        (errors.Conflict("x"), FAILED),
        (errors.TamperedRow("x"), FAILED),
        (errors.StoreError("x"), UNREACHABLE),
        (errors.ServiceFailed("x"), UNREACHABLE),
    ],
)
def test_an_exit_code_says_who_must_act(error: errors.VertebraError, code: int) -> None:
    """2 is for who typed it, 1 for a failed run, check or right, 4 for a service that is away."""
    assert code == code_of(error)
