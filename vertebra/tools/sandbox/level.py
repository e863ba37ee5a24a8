"""What every sandbox level is: a name, and a way to run one job."""

from __future__ import annotations

from typing import Protocol

from vertebra.schemas.tool import Job, JobAnswer, MemoryGuard


class Level(Protocol):
    """One way to run a job apart from the machine. Cancelling `run` kills whatever the job started."""

    @property
    def name(self) -> str: ...

    @property
    def memory(self) -> MemoryGuard: ...

    async def run(self, job: Job) -> JobAnswer:
        """Run the job to its end or to the first limit it breaks. Raises SandboxUnavailable if it cannot start."""
        ...
