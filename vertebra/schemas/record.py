"""How values are read back: recorded ones ignore a newer release's fields, authored ones refuse unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Recorded(BaseModel):
    """A value in history, journal or snapshot. Additive fields of a newer release are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class Authored(BaseModel):
    """A value that a person wrote. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
