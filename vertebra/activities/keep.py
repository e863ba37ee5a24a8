"""Store a value that is too large for history."""

from __future__ import annotations

from vertebra.activities.world import World
from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.run import KeepInput


async def keep(given: KeepInput, tenant: str, world: World) -> ArtifactRef:
    """The reference under which the value is found from now on."""
    return await world.artifacts.put(tenant, given.text.encode())
