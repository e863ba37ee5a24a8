"""A whole vertebra for tests: a database with people, published graphs, one gate worker in this process."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from tests.ground import Servers
from tests.stores import Migrated
from vertebra.activities.watch import Watch
from vertebra.activities.world import World
from vertebra.audit.chain import mac_key
from vertebra.boundary.cel_child import CelChild
from vertebra.boundary.secret_store import environment_secret
from vertebra.compiler import Catalogue, compile_graph, read_graph
from vertebra.compiler.catalogue import pinned_prices
from vertebra.compiler.project import Project, read_project
from vertebra.policies.seal import seal_key
from vertebra.policies.signature import SigningKey, sign
from vertebra.providers.registry import Setup, make_providers
from vertebra.providers.reply_files import read_replies
from vertebra.schemas.canonical import Json, canonical_bytes, digest_of, json_text
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import RUNS, ulid
from vertebra.schemas.money import Price, PriceTable
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.run import RunEnd
from vertebra.schemas.signed import Statement, instant
from vertebra.schemas.tool import ProjectTool
from vertebra.store.artifacts import Artifacts
from vertebra.store.pool import Pool, new_pool
from vertebra.store.texts import put_text_query
from vertebra.store.transaction import Query, Row, once
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import builtin
from vertebra.workers.build import working
from vertebra.workers.plugin import plugin
from vertebra.workflows.visibility import GRAPH, STATE, TENANT

AUDIT_SECRET = b"a" * 32
SEAL_SECRET = b"s" * 32
SAY = Prompt(
    name="say",
    version=1,
    template="Say something about {{text}}.",
    input_json=json_text({"text": {"type": "string", "required": True}}),
)
"""A prompt whose reply is plain text."""
TEMPLATE = Path(__file__).parent.parent / "vertebra/templates/customer-support"


@dataclass
class Relay(Watch):
    """Tells others what the stage's worker committed."""

    listeners: list[Watch] = field(default_factory=list)

    def settled(self, kind: str, agent: str, status: str, *, duration_ms: int, tokens: int, microusd: int) -> None:
        for one in self.listeners:
            one.settled(kind, agent, status, duration_ms=duration_ms, tokens=tokens, microusd=microusd)

    def refused(self, kind: str, by: str, reason: str) -> None:
        for one in self.listeners:
            one.refused(kind, by, reason)

    def ended(self, graph: str, end: RunEnd, seconds: float) -> None:
        for one in self.listeners:
            one.ended(graph, end, seconds)

    def sent(self, kind: str) -> None:
        for one in self.listeners:
            one.sent(kind)

    def received(self, kind: str, seconds: float) -> None:
        for one in self.listeners:
            one.received(kind, seconds)

    def duty(self, name: str, *, ok: bool) -> None:
        for one in self.listeners:
            one.duty(name, ok=ok)


@dataclass
class Stage:
    """What a test acts through. Rows are written as the API writes them."""

    client: Client
    world: World
    api: Pool
    owner: Pool
    project: Project
    prompts: Mapping[str, Prompt]
    sales: Path
    keys: dict[str, SigningKey] = field(default_factory=dict)

    async def sql(self, text: LiteralString, **params: object) -> list[Row]:
        """Run one statement as the owner."""
        [rows] = await once(self.owner, [Query("test", text, params)])
        return rows

    async def enroll(self, name: str, *roles: str, service: bool = False) -> SigningKey:
        """A person with a key of their own; enrolled before, with the same one."""
        if name in self.keys:
            return self.keys[name]
        key = SigningKey(secrets.token_bytes(32))
        public = None if service else key.public
        await self.sql(
            "insert into people (name, public_key, key, roles, service, enrolled_by)"
            " values (%(name)s, %(public)s, %(key)s, %(roles)s, %(service)s, 'test') on conflict do nothing",
            name=name,
            public=public,
            key=None if service else key.id,
            roles=list(roles),
            service=service,
        )
        self.keys[name] = key
        return key

    async def publish(
        self, graph: CompiledGraph, by: str = "ada", tools: Sequence[ProjectTool] = (),
        files: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Publish a graph and everything that it pins."""
        cited = [prompt for prompt in self.prompts.values() if prompt.digest in graph.prompts.values()]
        pins = [put_text_query("default", "prompt", prompt.canonical) for prompt in cited]
        pins += [put_text_query("default", "source", text.encode()) for text in (files or {}).values()]
        for name in graph.tools:
            own = next((tool for tool in tools if tool.spec.name == name), None)
            spec = self.world.registry.get(name).spec if own is None else own.spec
            pins.append(put_text_query("default", "tool", canonical_bytes(spec.canonical)))
            pins += [put_text_query("default", "source", own.source.encode())] if own is not None else []
        pins.append(put_text_query("default", "prices", pinned_prices(graph, self.project.prices).canonical))
        statement = self.statement("publish", by, id=f"{graph.name}@{graph.version}", digest=graph.digest)
        row = {
            "name": graph.name,
            "version": graph.version,
            "digest": graph.digest,
            "bytes": graph.canonical,
            "engine": graph.engine,
            "principal": graph.principal,
            "by": by,
            **self.signed(statement, by),
        }
        insert = Query(
            "publish",
            "insert into graphs (name, version, digest, bytes, engine, principal, published_by, key, nonce, statement,"
            " signature) values (%(name)s, %(version)s, %(digest)s, %(bytes)s, %(engine)s, %(principal)s, %(by)s,"
            " %(key)s, %(nonce)s, %(statement)s, %(signature)s) on conflict do nothing",
            row,
        )
        await once(self.api, [*pins, insert])

    def statement(self, kind: str, person: str, **fields: object) -> Statement:
        """A statement of `person`, to be signed with their own key."""
        plain = {"kind": kind, "person": person, "key": self.keys[person].id, "at": instant(datetime.now(UTC))}
        return Statement.model_validate(plain | {"nonce": secrets.token_hex(8)} | fields)

    def signed(self, statement: Statement, person: str) -> dict[str, object]:
        """The columns of a signed row."""
        return {
            "person": statement.person,
            "key": statement.key,
            "nonce": statement.nonce,
            "statement": statement.canonical,
            "signature": sign(statement, self.keys[person]),
        }

    def ticket(self, graph: CompiledGraph, run: str, text: str, by: str = "ada", **fields: object) -> Json:
        """A start ticket."""
        until = instant(datetime.now(UTC) + timedelta(minutes=10))
        plain = {"id": run, "run": run, "digest": graph.digest, "arguments_digest": digest_of(text.encode())}
        statement = self.statement("start", by, **{**plain, "expires_at": until, **fields})
        return {"statement": statement.canonical.decode(), "signature": sign(statement, self.keys[by]).hex()}

    async def start(
        self, graph: CompiledGraph, input: Mapping[str, Json], run: str | None = None, by: str = "ada"
    ) -> WorkflowHandle[object, object]:
        """Start a run with a ticket, as `vertebra run` does."""
        run = run or f"{graph.name}-{ulid(int(datetime.now(UTC).timestamp() * 1000), os.urandom(10))}"
        text = json_text(input)
        ticket = self.ticket(graph, run, text, by)
        return await self.start_raw(
            graph.name, run, {"vertebra": 1, "version": graph.version, "input": text, "ticket": ticket}
        )

    async def start_raw(self, graph: str, run: str, argument: Json) -> WorkflowHandle[object, object]:
        """Start whatever a stranger might start."""
        shown = TypedSearchAttributes(
            [
                SearchAttributePair(TENANT, "default"),
                SearchAttributePair(GRAPH, graph),
                SearchAttributePair(STATE, "running"),
            ]
        )
        return await self.client.start_workflow(
            graph,
            argument,
            id=run,
            task_queue=RUNS,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=shown,
        )

    async def decide(
        self, approval: str, verb: str, by: str = "ada", arguments: Json = None, wake: bool = True, **fields: object
    ) -> None:
        """Sign a decision and wake the run."""
        [row] = await self.sql("select * from approvals where id = %(id)s", id=approval)
        text = None if arguments is None else json_text(arguments)
        digest = None if text is None else digest_of(text.encode())
        plain = {"id": approval, "run": row["run"], "node": row["node"], "visit": row["visit"], "digest": row["digest"]}
        statement = self.statement("decision", by, **{**plain, "verb": verb, "arguments_digest": digest, **fields})
        values = {
            "approval": approval,
            "verb": verb,
            "arguments": None if text is None else text.encode(),
            "arguments_digest": digest,
            "digest": row["digest"],
            **self.signed(statement, by),
        }
        insert = Query(
            "decide",
            "insert into decisions (approval, verb, arguments, arguments_digest, digest, person, key, nonce, statement,"
            " signature) values (%(approval)s, %(verb)s, %(arguments)s, %(arguments_digest)s, %(digest)s, %(person)s,"
            " %(key)s, %(nonce)s, %(statement)s, %(signature)s)",
            values,
        )
        await once(self.api, [insert])
        if wake:
            await self.wake(row["run"])

    async def command(
        self, run: str, verb: str, node: str | None = None, visit: int | None = None, by: str = "ada",
        arguments: Json = None, wake: bool = True, **fields: object,
    ) -> str:  # fmt: skip
        """Sign an operator's command and wake the run; gives the command's id."""
        [row] = await self.sql("select epoch from runs where id = %(id)s", id=run)
        command = secrets.token_hex(10)
        if verb == "retry" and arguments is None:
            arguments = {"round": await self.round(run, node, visit)}
        text = None if arguments is None else json_text(arguments)
        digest = None if text is None else digest_of(text.encode())
        plain = {"id": command, "run": run, "epoch": row["epoch"], "node": node, "visit": visit, "verb": verb}
        statement = self.statement("command", by, **{**plain, "arguments_digest": digest, **fields})
        values = {
            **plain,
            "arguments": None if text is None else text.encode(),
            "arguments_digest": digest,
            **self.signed(statement, by),
        }
        insert = Query(
            "command",
            "insert into commands (id, run, epoch, node, visit, verb, arguments, arguments_digest, person, key, nonce,"
            " statement, signature) values (%(id)s, %(run)s, %(epoch)s, %(node)s, %(visit)s, %(verb)s, %(arguments)s,"
            " %(arguments_digest)s, %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s)",
            values,
        )
        await once(self.api, [insert])
        if wake:
            await self.wake(run)
        return command

    async def round(self, run: str, node: str | None, visit: int | None) -> int:
        """Which block of this visit is open now; the first where none is."""
        rows = await self.sql(
            "select round from waits where run = %(run)s and kind = 'blocked' and node = %(node)s"
            " and visit = %(visit)s",
            run=run,
            node=node,
            visit=visit,
        )
        return int(rows[0]["round"]) if rows else 1

    async def wake(self, run: str) -> None:
        """Have the run look at its rows now; one that looked by itself meanwhile, and ended, has no need of it."""
        try:
            await self.client.get_workflow_handle(run).signal("look")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def bought(self, run: str | None = None) -> list[dict[str, object]]:
        """The replies that the scripted vendor sold."""
        if not self.sales.exists():
            return []
        lines = [json.loads(line) for line in self.sales.read_text().splitlines()]
        return [line for line in lines if run in (None, line["run"])]

    def compile(
        self, text: str, file: str = "test.yaml", tools: Sequence[ProjectTool] = (),
        files: Mapping[str, str] | None = None,
    ) -> CompiledGraph:  # fmt: skip
        """A graph of the test's own, over the project's prompts and the built-in tools; `files`: those of routers."""
        specs = {**self.world.registry.specs, **{one.spec.name: one.spec for one in tools}}
        catalogue = Catalogue(
            prompts=self.prompts,
            tools=specs,
            files=files or {},
            prices=self.project.prices,
        )
        return compile_graph(read_graph(text, file), catalogue)

    @property
    def support(self) -> CompiledGraph:
        """The customer-support graph."""
        path = TEMPLATE / "graphs/customer-support.yaml"
        return self.compile(path.read_text(encoding="utf-8"), str(path))


@asynccontextmanager
async def staged(
    services: Servers,
    migrated: Migrated,
    folder: Path,
    *,
    replies: Mapping[str, Json] | None = None,
    work: bool = True,
    endpoints: Mapping[str, str | None] | None = None,
    prices: Sequence[Price] = (),
    change: Callable[[World], World] = lambda world: world,
    template: Path = TEMPLATE,
    namespace: str | None = None,
) -> AsyncIterator[Stage]:
    """Set everything up, with a worker in this process unless `work` is off.

    `endpoints`: addresses of model servers, each with the name of its key; `prices`: more of the operator's own;
    `change` makes the world another one;
    `template`: the project; `namespace`: instead of the servers' own, so that no other stage's worker takes the calls.
    """
    async with AsyncExitStack() as stack:
        namespace = namespace or services.temporal_namespace
        client = await Client.connect(services.temporal_address, namespace=namespace, plugins=[plugin()])
        gate = await stack.enter_async_context(new_pool(migrated.dsn("vertebra_gate"), max_size=16, min_size=4))
        api = await stack.enter_async_context(new_pool(migrated.dsn("vertebra_api"), max_size=4))
        owner = await stack.enter_async_context(new_pool(migrated.superuser_dsn, max_size=4))
        cel = await stack.enter_async_context(CelChild())
        host = await stack.enter_async_context(ToolHost())
        sales = folder / "sales.jsonl"
        setup = Setup(
            replies=read_replies(template / "replies") | dict(replies or {}), sales=sales, endpoints=endpoints or {}
        )
        project = read_project(template)
        providers = make_providers(setup)
        stack.push_async_callback(providers.aclose)
        project = replace(project, prices=PriceTable(prices=(*project.prices.prices, *prices)))
        seal = seal_key(SEAL_SECRET)
        relay = Relay()
        world = World(
            pool=gate,
            artifacts=Artifacts(gate),
            audit_key=mac_key(AUDIT_SECRET),
            seal_key=seal,
            seal_keys={seal.id: seal},
            registry=builtin(),
            providers=providers,
            cel=cel,
            prices=project.prices,
            project=template,
            maildir=folder / "mail",
            worker="test-worker",
            now=lambda: datetime.now(UTC),
            secret=environment_secret,
            tool_host=host,
            watch=relay,
        )
        world = change(world)
        prompts = {**project.prompts, SAY.ref: SAY}
        made = Stage(client, world, api, owner, project, prompts, sales)
        await made.enroll("ada", "support_lead", "operator", "author", "starter")
        await made.enroll("bo", "manager")
        await made.enroll("mallory")
        await made.enroll("svc-support", "starter", service=True)
        if work:
            await stack.enter_async_context(working(client, world))
        yield made
