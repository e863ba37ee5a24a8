"""What the gate gives a worker tool beside the model's arguments, so that no model chooses a folder or a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vertebra.boundary.egress import Egress


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """A tool function that has a parameter of this type is given it; its schema leaves it out."""

    idempotency_key: str
    """The call id: the same at every attempt of one call."""
    project: Path
    """The project's folder."""
    maildir: Path
    """Where mail is delivered on a laptop."""
    deadline: datetime | None = None
    """When the gate stops waiting (aware UTC)."""
    egress: Egress | None = None
    """What requests leave by; None where this worker sends none."""
    hosts: tuple[str, ...] = ()
    """Where this graph's requests may go, as far as the operator lets them."""
    read_folders: tuple[str, ...] = ()
    """Folders of the project whose files may be read."""

    @property
    def documents(self) -> Path:
        return self.project / "documents"
