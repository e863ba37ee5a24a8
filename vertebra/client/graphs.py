"""Publishes graphs with every text that they pin, signed by their author; and finds what is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vertebra.client.people import acting, audit_query
from vertebra.client.signing import About, Signer, signed
from vertebra.schemas.canonical import digest_of
from vertebra.schemas.errors import Conflict, NotFound, TamperedRow
from vertebra.schemas.graph import CompiledGraph, parse_graph
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.schemas.tool import ToolSpec
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.texts import TextKind, put_text_query
from vertebra.store.transaction import Query, Row, pipelined, trip

PUBLISHERS = ("author", "admin")
_DRAFT_HEX = 8


@dataclass(frozen=True, slots=True)
class PinnedText:
    """A text that a graph pins by the digest of these bytes."""

    kind: TextKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A published version of a graph."""

    tenant: str
    graph: CompiledGraph
    digest: str
    draft: bool
    published_by: str
    at: datetime

    @property
    def ref(self) -> str:
        return f"{self.graph.name}@{self.graph.version}"


Outcome = Literal["published", "unchanged", "made current"]


def draft_of(graph: CompiledGraph) -> CompiledGraph:
    """The graph as a draft: its version carries eight digits of a digest that does not cover the version."""
    bare = _with_version(graph, "")
    return _with_version(graph, f"{graph.version}+dev.{bare.digest.removeprefix('sha256:')[:_DRAFT_HEX]}")


async def publish(
    connection: Link, signer: Signer, graph: CompiledGraph, texts: Sequence[PinnedText], *, draft: bool = False
) -> Outcome:
    """Store graph and texts, or make a version that is stored already the current one.

    Raises PermissionDenied, Conflict where this version is another graph, NotFound where a pinned text was not given.
    """
    await acting(connection, signer, PUBLISHERS)
    _check_texts(graph, texts)
    standing = await _versions(connection, graph.name)
    same = next((row for row in standing if row["version"] == graph.version), None)
    if same is not None and same["digest"] != graph.digest:
        raise Conflict(
            f"{graph.name}@{graph.version} is published already, with other contents",
            do="raise `version` in the graph file, then publish again",
        )
    if same is not None and same is _current(standing, draft):
        return "unchanged"
    await _write(connection, signer, graph, texts, draft, fresh=same is None)
    return "published" if same is None else "made current"


async def republish(connection: Link, signer: Signer, name: str, version: str) -> Outcome:
    """Make an older version the current one again, from what is stored. Raises NotFound, PermissionDenied."""
    found = await published(connection, name, version, drafts=True)
    await acting(connection, signer, PUBLISHERS)
    standing = await _versions(connection, name)
    current = _current(standing, found.draft)
    if current is not None and current["version"] == version:
        return "unchanged"
    await _write(connection, signer, found.graph, (), found.draft, fresh=False)
    return "made current"


async def published(connection: Link, name: str, version: str | None, *, drafts: bool) -> Published:
    """The version that a start would take. Raises NotFound with the nearest names, TamperedRow."""
    params = {"name": name, "version": version, "drafts": drafts}
    [rows] = await trip(connection, [Query("newest_graph", named("steps", "newest_graph"), params)])
    if not rows:
        raise await _unknown(connection, name, version)
    row = rows[0]
    if digest_of(bytes(row["bytes"])) != row["digest"]:
        raise TamperedRow(f"the graph {row['digest']} was changed in the database")
    return Published(
        tenant=row["tenant"],
        graph=parse_graph(bytes(row["bytes"]).decode()),
        digest=row["digest"],
        draft=row["draft"],
        published_by=row["published_by"],
        at=row["at"],
    )


async def listed(connection: Link) -> list[Row]:
    """Every published version, the newest of each graph first."""
    [rows] = await trip(connection, [Query("graphs", named("client", "graphs"))])
    return rows


async def pinned(connection: Link, tenant: str, digest: str) -> bytes:
    """A text by its digest. Raises NotFound, TamperedRow."""
    params = {"tenant": tenant, "digests": [digest]}
    [rows] = await trip(connection, [Query("get_texts", named("values", "get_texts"), params)])
    if not rows:
        raise NotFound(f"the text {digest} is not stored", do="publish the graph again")
    data = bytes(rows[0]["bytes"])
    if digest_of(data) != digest:
        raise TamperedRow(f"the text {digest} was changed in the database")
    return data


def _with_version(graph: CompiledGraph, version: str) -> CompiledGraph:
    return graph.model_copy(update={"version": version})


def _check_texts(graph: CompiledGraph, texts: Sequence[PinnedText]) -> None:
    given = {digest_of(text.data) for text in texts}
    prices = [] if graph.prices is None else [graph.prices]
    sources = [node.router.source for node in graph.nodes.values() if node.router is not None]
    sources += [ToolSpec.of(text.data).source for text in texts if text.kind == "tool"]
    code = [source for source in sources if source is not None]
    for digest in (*graph.prompts.values(), *graph.tools.values(), *prices, *code):
        if digest not in given:
            raise NotFound(f"graph {graph.name!r} pins the text {digest}, which was not given", do="compile it again")


def _current(standing: Sequence[Row], draft: bool) -> Row | None:
    """What a start would take: the newest of all where drafts count, else the newest that is none."""
    return next((row for row in standing if draft or not row["draft"]), None)


async def _versions(connection: Link, name: str) -> list[Row]:
    [rows] = await trip(connection, [Query("versions", named("client", "versions"), {"name": name})])
    return rows


async def _write(
    connection: Link,
    signer: Signer,
    graph: CompiledGraph,
    texts: Sequence[PinnedText],
    draft: bool,
    *,
    fresh: bool,
) -> None:
    signature = signed(signer, About(kind="publish", id=f"{graph.name}@{graph.version}", digest=graph.digest))
    row = {
        "tenant": DEFAULT_TENANT,
        "name": graph.name,
        "version": graph.version,
        "digest": graph.digest,
        "bytes": graph.canonical,
        "engine": graph.engine,
        "principal": graph.principal,
        "draft": draft,
        **signature.params,
    }
    name = "put_graph" if fresh else "make_current"
    stored = [put_text_query(DEFAULT_TENANT, text.kind, text.data) for text in texts]
    told = audit_query(f"publish/{signature.statement.nonce}")
    async with pipelined(connection) as opened:
        await opened.commit([*stored, Query(name, named("client", name), row), told])


async def _unknown(connection: Link, name: str, version: str | None) -> NotFound:
    rows = await listed(connection)
    mine = [row["version"] for row in rows if row["name"] == name]
    if mine and version is not None:
        return NotFound(f"graph {name!r} has no version {version!r}", do=f"there are: {', '.join(mine[:10])}")
    if mine:
        return NotFound(f"graph {name!r} has drafts only", do="publish it, or set VERTEBRA_DRAFTS")
    names = ", ".join(sorted({row["name"] for row in rows})[:10])
    do = f"published are: {names}" if names else f"publish one with: vertebra publish graphs/{name}.yaml"
    return NotFound(f"no graph {name!r} is published", do=do)
