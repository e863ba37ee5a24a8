"""Everything of the outside that activities and gate use, made once by a worker and given as a value."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vertebra.activities.kept import Kept
from vertebra.activities.watch import SILENT, Watch
from vertebra.audit.chain import MacKey
from vertebra.boundary.cel_child import CelChild
from vertebra.boundary.egress import Egress
from vertebra.ledger.prices import price_of
from vertebra.policies.budget import dearer
from vertebra.policies.seal import SealKey
from vertebra.providers.registry import Providers
from vertebra.schemas.canonical import Digest, digest_of
from vertebra.schemas.errors import NotFound, TamperedRow
from vertebra.schemas.graph import CompiledGraph, Model, parse_graph
from vertebra.schemas.money import Price, PriceTable
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.tool import ToolSpec
from vertebra.store.artifacts import Artifacts
from vertebra.store.pool import Links
from vertebra.store.queries import named
from vertebra.store.texts import get_texts_query, texts_of
from vertebra.store.transaction import Query, once
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import Registry

MAX_KEPT = 500
"""Graphs, prompts, tools and price tables that one worker remembers, of each; the rest is read again."""


@dataclass(frozen=True)
class World:
    """The parts that one gate worker holds."""

    pool: Links
    artifacts: Artifacts
    audit_key: MacKey
    seal_key: SealKey
    """Seals new contexts."""
    seal_keys: Mapping[str, SealKey]
    """Key id to key: every key that sealed a context which may still be alive."""
    registry: Registry
    providers: Providers
    cel: CelChild
    prices: PriceTable
    """The operator's own prices, as of today."""
    project: Path
    maildir: Path
    worker: str
    now: Callable[[], datetime]
    """The worker's clock, for the times in audit entries; expiry is decided by the database's."""
    secret: Callable[[str], str | None]
    """The value behind the name of a secret, looked up when a call is performed."""
    elapsed: Callable[[], float] = time.monotonic
    """Seconds on a clock that never jumps, for how long a call took."""
    tool_host: ToolHost | None = None
    egress: Egress | None = None
    """What requests to outside leave by; None where this worker sends none."""
    read_folders: tuple[str, ...] = ()
    """Folders of the project, relative to it, whose files the tool `read_file` may read."""
    egress_secrets: tuple[str, ...] = ()
    """Rules `REFERENCE@HOST`: which secret a request may take where."""
    drafts: bool = False
    watch: Watch = SILENT
    """Told what this worker committed."""
    _graphs: Kept[str, CompiledGraph] = field(default_factory=lambda: Kept(MAX_KEPT), repr=False)
    _prompts: Kept[str, Prompt] = field(default_factory=lambda: Kept(MAX_KEPT), repr=False)
    _tools: Kept[str, ToolSpec] = field(default_factory=lambda: Kept(MAX_KEPT), repr=False)
    _sources: Kept[str, str] = field(default_factory=lambda: Kept(MAX_KEPT), repr=False)
    _tables: Kept[str, PriceTable] = field(default_factory=lambda: Kept(MAX_KEPT), repr=False)

    def ms_since(self, began: float) -> int:
        """Milliseconds since `elapsed` said `began`."""
        return round((self.elapsed() - began) * 1000)

    async def graph(self, digest: str) -> CompiledGraph:
        """The published graph of this digest; what has a digest never changes, so it is kept. Raises NotFound."""
        if digest not in self._graphs:
            [rows] = await once(self.pool, [Query("graph", named("gate", "graph"), {"digest": digest})])
            if not rows:
                raise NotFound(f"no graph {digest} is published")
            data = bytes(rows[0]["bytes"])
            if digest_of(data) != digest:
                raise TamperedRow(f"the graph {digest} was changed in the database")
            self._graphs[digest] = parse_graph(data.decode())
        return self._graphs[digest]

    async def prompt(self, tenant: str, digest: Digest) -> Prompt:
        """The prompt of this digest. Raises NotFound, TamperedRow."""
        if digest not in self._prompts:
            self._prompts[digest] = Prompt.model_validate_json(await self._text(tenant, digest))
        return self._prompts[digest]

    async def tool(self, tenant: str, digest: Digest) -> ToolSpec:
        """The definition that a graph pins, whatever this worker's tool says by now. Raises NotFound, TamperedRow."""
        if digest not in self._tools:
            self._tools[digest] = ToolSpec.of(await self._text(tenant, digest))
        return self._tools[digest]

    async def source(self, tenant: str, digest: Digest) -> str:
        """The text of a project's file that a graph pins, as it was published. Raises NotFound, TamperedRow."""
        if digest not in self._sources:
            self._sources[digest] = (await self._text(tenant, digest)).decode()
        return self._sources[digest]

    async def _text(self, tenant: str, digest: Digest) -> bytes:
        [rows] = await once(self.pool, [get_texts_query(tenant, [digest])])
        return texts_of(rows, [digest])[digest]

    async def price(self, tenant: str, graph: CompiledGraph, model: Model) -> Price:
        """The pinned price, or today's where that is higher. Raises Unpriced."""
        today = price_of(model.provider, model.model, self.prices, self.now(), endpoint=model.endpoint)
        if graph.prices is None:
            return today
        if graph.prices not in self._tables:
            rows = await self._text(tenant, graph.prices)
            self._tables[graph.prices] = PriceTable.model_validate_json(b'{"prices":' + rows + b"}")
        pinned = self._tables[graph.prices].find(model.provider, model.model)
        return today if pinned is None else dearer(pinned, today)
