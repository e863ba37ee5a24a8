"""The audit chain: what is written beside every effect, how it is sealed, and how a reader checks and asks it."""

from __future__ import annotations

from vertebra.audit.reader import Audit, open_audit

__all__ = ["Audit", "open_audit"]
