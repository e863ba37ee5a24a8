"""Rights: what the sealed context grants, and what has been revoked since. Checked at every effect."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.activities.world import World
from vertebra.schemas.call import CallError
from vertebra.store.queries import named
from vertebra.store.transaction import Query
from vertebra.workers.gate.context import grant_of
from vertebra.workers.gate.element import Denied, Element, GateCall, Seen, Verdict


def reads(call: GateCall) -> Sequence[Query]:
    """What stands revoked among the names that this call uses."""
    params = {"tenant": call.tenant, "targets": sorted(_targets(call))}
    return (Query("revocations", named("gate", "revocations"), params),)


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """Refuse what is outside the grant, revoked, or no longer the tool that was compiled against."""
    if call.refused is not None:
        return _denied(call, type(call.refused).__name__, str(call.refused), call.refused.do)
    kinds = _targets(call)
    for row in seen.of("permission"):
        if row["kind"] in kinds.get(row["target"], ()):
            return _denied(
                call, "Revoked", f"{row['kind']} {row['target']!r} was revoked: {row['reason']}", "ask an admin"
            )
    for line in seen.of("context", 1):
        if line["revoked"] is not None:
            return _denied(call, "Revoked", f"context {line['id']} was revoked: {line['revoked']}", "ask an admin")
    if seen.run["principal_revoked"]:
        return _denied(call, "Revoked", f"{seen.run['principal']!r}, for whom this runs, was revoked", "ask an admin")
    return _outside(call, seen) or _drifted(call, world)


def _outside(call: GateCall, seen: Seen) -> Verdict:
    grant, prepared = grant_of(seen.of("context", 1)[0]), call.prepared
    for permission in sorted(set(prepared.permissions) - set(grant.permissions)):
        where = f"spine.permissions of graph {call.graph.name!r}"
        return _denied(call, "PermissionDenied", f"permission {permission!r} is missing", f"add it to {where}")
    if prepared.tool is not None and prepared.tool not in grant.tools:
        return _denied(
            call, "PermissionDenied", f"tool {prepared.tool!r} is outside the grant of {call.agent or 'the spine'!r}",
            f"it may use: {', '.join(grant.tools) or 'none'}",
        )  # fmt: skip
    model = f"{prepared.provider}/{prepared.model}"
    if prepared.kind == "llm" and model not in grant.models:
        return _denied(call, "PermissionDenied", f"model {model!r} is outside the grant", "name it in spine.models")
    return None


def _drifted(call: GateCall, world: World) -> Verdict:
    tool = call.prepared.tool
    if tool is None or call.graph.tools.get(tool) == call.prepared.tool_pin:
        return None
    return _denied(
        call, "ToolDrift", f"tool {tool!r} is not the one that the graph was compiled against", "publish the graph anew"
    )


def _targets(call: GateCall) -> dict[str, tuple[str, ...]]:
    """Each name that this call uses, with the kinds of revocation that it is the target of."""
    prepared = call.prepared
    found: dict[str, tuple[str, ...]] = {}
    named_as = {
        "agent": call.agent,
        "tool": prepared.tool,
        "model": f"{prepared.provider}/{prepared.model}" if prepared.model else None,
        "vendor": prepared.provider,
    }
    for kind, name in named_as.items():
        if name:
            found[name] = (*found.get(name, ()), kind)
    return found


def _denied(call: GateCall, kind: str, message: str, advice: str | None) -> Denied:
    error = CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit, do=advice)
    return Denied("permission", error)


ELEMENT = Element("permission", reads=reads, judge=judge)
