"""Send an `http` node's request: where operator and graph allow it, secrets put in at the last moment."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from pydantic import JsonValue

from vertebra.activities.performed import Caller, Performed, unsent
from vertebra.activities.results import kept
from vertebra.activities.world import World
from vertebra.boundary.egress import Ask, Egress, Fetched, check, checked_headers, parse, target_of
from vertebra.boundary.redaction import without
from vertebra.policies.hosts import Target, covers
from vertebra.policies.secret_refs import may_send, reference_in, without_reference
from vertebra.schemas.call import ArtifactRef, CallInput, CallResult, Prepared, Telemetry
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import (
    BadArguments,
    BadJson,
    BadToolOutput,
    EgressRefused,
    HttpFailed,
    PermissionDenied,
    SettingsError,
    ToolError,
    VertebraError,
)
from vertebra.schemas.graph import REPEATABLE, CompiledGraph, HttpCall, Node
from vertebra.schemas.strict_json import check_value, read_json

KEY_HEADER = "idempotency-key"
MAX_BODY_BYTES = 256 * 1024
MAX_DELAY_S = 600.0
_PARTS = frozenset({"method", "address", "headers", "body"})
_PLACE = re.compile(r"\{(\d+)\}")
_STEPS = ("", ".", "..")
"""Segments that name nothing: a client or server takes them out, and with them the segment before."""
_AGAIN = (408, 425, 500, 502, 504)
_HIDDEN = "[secret]"


@dataclass(frozen=True)
class _Said:
    """The request in full, as a person is shown it: secrets are references."""

    method: str
    address: str
    headers: dict[str, str]
    body: JsonValue

    @property
    def arguments(self) -> dict[str, JsonValue]:
        return {"method": self.method, "address": self.address, "headers": dict(self.headers), "body": self.body}


async def prepare(given: CallInput, graph: CompiledGraph, node: Node, tenant: str, world: World) -> Prepared:
    """The final request. Raises BadArguments, EgressRefused, PermissionDenied: then nothing is sent or asked."""
    assert node.http is not None
    said = _edited(given.values, node.http) if "method" in given.values else _filled(given.values, node.http)
    target = _checked(said, graph, world)
    for value in said.headers.values():
        reference = reference_in(value)
        if reference is not None:
            _check_secret(reference, target, world)
    request = canonical_bytes({"kind": "http", "arguments": json_text(said.arguments)})
    return Prepared(
        kind="http",
        request=request,
        digest=digest_of(request),
        effect=node.effect or "irreversible",
        permissions=("execute_tools",),
        arguments=said.arguments,
    )


async def perform(prepared: Prepared, graph: CompiledGraph, node: Node, caller: Caller, world: World) -> Performed:
    """Send the request once, and read its answer."""
    assert node.http is not None
    said = _Said(**prepared.arguments)  # type: ignore[arg-type] # prepared here
    try:
        secrets = _secrets(said, world)
        out = _out(world)
    except VertebraError as error:
        return unsent(error, caller)
    began = world.elapsed()
    ask = _ask(said, secrets, caller)
    try:
        fetched = await out.send(ask, within=graph.spine.hosts, total_s=float(caller.timeout_s))
        answer = _answer(fetched, secrets)
        if not _is_expected(fetched.status, node.http):
            expected = " or ".join(node.http.expect)
            raise _Unexpected(fetched.status, expected, _delay_s(fetched, world.now()))
        value, ref, large = _kept(answer)
    except ToolError as error:
        return _failed(error, prepared, node, caller, world.ms_since(began))
    duration_ms = world.ms_since(began)
    result = CallResult(result=value, ref=ref, telemetry=Telemetry(latency_ms=duration_ms), attempts=caller.attempt)
    return Performed(
        status="done",
        books="settled",
        result=result,
        output=json_text(answer),
        duration_ms=duration_ms,
        artifacts=large,
    )


class _Unexpected(HttpFailed):
    """The host answered with another status than the node expects."""

    def __init__(self, status: int, expected: str, delay_s: float | None) -> None:
        super().__init__(f"the host answered {status}, expected is {expected}", kind="status")
        self.status, self.delay_s = status, delay_s


def _filled(values: dict[str, JsonValue], call: HttpCall) -> _Said:
    """The parts of the node's own request, with what the run gives put in."""
    headers = dict(call.headers)
    for name in sorted(values):
        if name.startswith("header."):
            headers[name.removeprefix("header.")] = _text(values[name], name)
    parts = {name.removeprefix("body."): value for name, value in values.items() if name.startswith("body.")}
    body = parts or values.get("body")
    if call.address is None:
        address = _text(values.get("address"), "address")
    else:
        path, mark, query = call.address.partition("?")
        segments = [_segment(part, values) for part in path.split("/")]
        address = "/".join(segments) + mark + _put(query, values)
    return _Said(call.method, address, _no_references(headers, call), body)


def _put(text: str, values: dict[str, JsonValue]) -> str:
    """Part of an address with its values: nothing that a run gives can end the path or begin a query."""
    return _PLACE.sub(lambda at: quote(_text(values.get(f"address.{at[1]}"), "address"), safe=""), text)


def _segment(part: str, values: dict[str, JsonValue]) -> str:
    """One segment of the path. Raises BadArguments where the run's values would leave none, or a step upwards."""
    found = _put(part, values)
    if found != part and found in _STEPS:
        raise BadArguments(f"a part of the address's path would be {found!r}", do="give it a text that names something")
    return found


def _edited(values: dict[str, JsonValue], call: HttpCall) -> _Said:
    """What an approver has written instead: the same method, and no secret that the node does not send there."""
    headers = values.get("headers", {})
    if set(values) - _PARTS or not isinstance(headers, dict) or values["method"] != call.method:
        raise BadArguments("a request has method (unchanged), address, headers and body", do="edit only those")
    texts = {name: _text(value, name) for name, value in headers.items()}
    return _Said(call.method, _text(values.get("address"), "address"), _no_references(texts, call), values.get("body"))


def _no_references(headers: dict[str, str], call: HttpCall) -> dict[str, str]:
    """References count where the author wrote them. What a run or a model brings along is never looked up."""
    for name, value in headers.items():
        if "secret://" in value and call.headers.get(name) != value:
            raise BadArguments(f"the header {name!r} may not name a secret here", do="write it into the graph")
    return headers


def _text(value: JsonValue, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json_text(value)
    raise BadArguments(f"{name!r} is no text or number", do="give it one")


def _checked(said: _Said, graph: CompiledGraph, world: World) -> Target:
    target = target_of(parse(said.address))
    check(target, _out(world).reach.hosts)
    check(target, graph.spine.hosts, "this graph")
    checked_headers({name: without_reference(value) for name, value in said.headers.items()})
    if len(json_text(said.body).encode()) > MAX_BODY_BYTES:
        raise BadArguments(f"the body has more than {MAX_BODY_BYTES} bytes")
    return target


def _check_secret(reference: str, target: Target, world: World) -> None:
    """Raise PermissionDenied unless this secret may go there, where nobody on the way can read it."""
    if not may_send(world.egress_secrets, reference, target):
        do = f"ask the operator to add {reference}@{target} to the setting egress_secrets"
        raise PermissionDenied(f"the operator does not let {reference} be sent to {str(target)!r}", do=do)
    if target.scheme != "https" and not covers(_out(world).reach.inside, target):
        raise PermissionDenied(f"{reference} would be sent to {str(target)!r} in the clear", do="write https://")


def _out(world: World) -> Egress:
    if world.egress is None:
        raise EgressRefused("this worker sends no requests", do="name hosts in the setting egress_hosts")
    return world.egress


def _secrets(said: _Said, world: World) -> dict[str, str]:
    """Reference to value. Raises SettingsError for one that is not there."""
    found = {}
    for reference in {name for value in said.headers.values() if (name := reference_in(value))}:
        value = world.secret(reference)
        if not value:
            raise SettingsError(f"the secret {reference} is not there", do="give it to the worker")
        found[reference] = value
    return found


def _ask(said: _Said, secrets: dict[str, str], caller: Caller) -> Ask:
    headers = {name.lower(): value for name, value in said.headers.items()}
    secret = {name: ref for name, value in headers.items() if (ref := reference_in(value)) is not None}
    headers |= {name: without_reference(headers[name]) + secrets[ref] for name, ref in secret.items()}
    body = None
    if said.body is not None:
        is_text = isinstance(said.body, str)
        headers.setdefault("content-type", "text/plain; charset=utf-8" if is_text else "application/json")
        body = (said.body if isinstance(said.body, str) else json_text(said.body)).encode()
    if said.method not in ("GET", "HEAD"):
        headers[KEY_HEADER] = caller.call_id
    return Ask(method=said.method, address=said.address, headers=headers, body=body, private=frozenset(secret))


def _answer(fetched: Fetched, secrets: dict[str, str]) -> dict[str, JsonValue]:
    """Status, headers and body as values; a host that says a secret back is not taken at its word."""
    headers = {name: value for name, value in fetched.headers.items() if name != "set-cookie"}
    # as bytes, for what is kept as base64 or cannot be read; and as values, since JSON has many ways to write a letter
    body = fetched.body
    for secret in secrets.values():
        body = body.replace(secret.encode(), _HIDDEN.encode())
    read = _read(body, headers, quotes=not secrets)
    answer: dict[str, JsonValue] = {"headers": dict(headers), "body": read}
    try:
        check_value(answer, at="answer")
        answer = {name: _blotted(value, secrets) for name, value in answer.items()}
        check_value(answer, at="answer")
    except BadJson as error:
        raise HttpFailed(f"the answer cannot be kept: {error.message}", kind="malformed") from None
    return {"status": fetched.status, **answer}


def _kept(answer: dict[str, JsonValue]) -> tuple[JsonValue, ArtifactRef | None, tuple[bytes, ...]]:
    """The answer as the node's result. Raises HttpFailed where it is too large: the request was sent all the same."""
    try:
        return kept(answer)
    except BadToolOutput as error:
        raise HttpFailed(f"the answer cannot be kept: {error.message}", kind="too_large") from None


def _blotted(value: JsonValue, secrets: dict[str, str]) -> JsonValue:
    """The value with every secret blotted out of its texts and names."""
    if isinstance(value, str):
        for secret in secrets.values():
            value = without(secret, value.replace(secret, _HIDDEN), _HIDDEN)
        return value
    if isinstance(value, list):
        return [_blotted(item, secrets) for item in value]
    if isinstance(value, dict):
        return {str(_blotted(name, secrets)): _blotted(item, secrets) for name, item in value.items()}
    return value


def _read(body: bytes, headers: dict[str, str], *, quotes: bool) -> JsonValue:
    """The body by its type. `quotes` False: its error names no part of it, which may be a secret in other letters."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return None
    if media == "application/json" or media.endswith("+json"):
        try:
            return read_json(body, max_bytes=len(body), at="answer")
        except BadJson as error:
            why = f": {error.message}" if quotes else ""
            raise HttpFailed(f"the answer is no JSON{why}", kind="malformed") from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode(), "media_type": media}


def _is_expected(status: int, call: HttpCall) -> bool:
    return any(str(status) == one or (one.endswith("xx") and str(status)[0] == one[0]) for one in call.expect)


def _delay_s(fetched: Fetched, now: datetime) -> float | None:
    """The host's own delay, in seconds or as a date, bounded."""
    said = fetched.headers.get("retry-after", "").strip()
    if said.isdecimal():
        return min(float(said), MAX_DELAY_S)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()), MAX_DELAY_S)


def _failed(error: ToolError, prepared: Prepared, node: Node, caller: Caller, duration_ms: int) -> Performed:
    """What may be tried again; what only an operator can tell, because it left and may not leave twice; the rest."""
    name = "HttpFailed" if isinstance(error, HttpFailed) else type(error).__name__
    told = caller.error(name, error.message, error.do)
    kind = error.kind if isinstance(error, HttpFailed) else None
    status = error.status if isinstance(error, _Unexpected) else None
    delay = error.delay_s if isinstance(error, _Unexpected) else None
    unsure = kind in ("network", "timeout", "malformed", "too_large") or (status is not None and status >= 500)
    if unsure and prepared.effect not in REPEATABLE:
        return Performed(status="lost", books="unknown", error=told, duration_ms=duration_ms)
    waits = status == 429 or (status == 503 and delay is not None)
    counts = kind in ("connect", "network", "timeout", "malformed") or status in (*_AGAIN, 503)
    left = caller.counted + 1 < node.retry.max_attempts
    if waits or (counts and left):
        return Performed(
            status="again", books="released", error=told, counts=not waits, retry_after_s=delay, duration_ms=duration_ms
        )
    return Performed(status="failed", books="released", error=told, counts=True, duration_ms=duration_ms)
