"""The life of a node: entered, started by its type, completed with a result, left over an edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from vertebra.engine import channels
from vertebra.engine.decisions import Answers, ask, first_true
from vertebra.engine.failures import block, fail
from vertebra.engine.humans import start_human
from vertebra.engine.pauses import start_wait
from vertebra.engine.sending import send_model, send_node_call
from vertebra.engine.state import Branch, NodeResult
from vertebra.engine.turns import start_agent
from vertebra.engine.values import resolve, resolve_inline
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError, CallKind
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.graph import REST, NodeType, Value


def enter(work: Work, branch: Branch) -> None:
    """A new visit, unless the node has had all of its visits."""
    branch = work.visit(branch)
    cap = work.node(branch).max_visits
    if cap is None or branch.visit <= cap:
        if not work.stands(branch, "enter"):
            start(work, branch)
    else:
        fail(work, branch, _too_often(branch, cap), "enter")


def start(work: Work, branch: Branch) -> None:
    """Start the node, for the first time in this visit or, after `retry`, again."""
    STARTS[work.node(branch).type](work, branch)


def complete(work: Work, branch: Branch) -> None:
    """Keep the node's result and write its channels; then its edges are read."""
    result = branch.kept
    assert result is not None
    written = channels.write(work, branch, result)
    if isinstance(written, CallError):
        block(work, branch, written, "write")
        return
    if work.steps.get(place(branch)) == "running":
        work.step(branch.at, branch.visit, "succeeded")
    results = {**written.results, branch.at: result}
    work.then("route", replace(written, stage="routing", results=results, turn=None, kept=None))


def _start_llm(work: Work, branch: Branch) -> None:
    given = resolve(work, branch, work.node(branch).values)
    if isinstance(given, CallError):
        block(work, branch, given, "enter")
        return
    send_model(work, work.put(replace(branch, stage="calling")), 1, given)


def _start_call(kind: CallKind) -> Callable[[Work, Branch], None]:
    def start_call(work: Work, branch: Branch) -> None:
        given = resolve(work, branch, work.node(branch).values)
        if isinstance(given, CallError):
            block(work, branch, given, "enter")
            return
        send_node_call(work, work.put(replace(branch, stage="calling")), kind, given)

    return start_call


def _start_rules(work: Work, branch: Branch) -> None:
    rules = work.node(branch).rules
    if rules:
        ask(work, branch, "deciding", [rule.when for rule in rules])
    else:
        _give(work, branch, work.node(branch).default)


def rules_decided(work: Work, branch: Branch, answers: Answers) -> None:
    """The first true rule gives the result, else the default; a failed condition fails the node."""
    node = work.node(branch)
    first = first_true(branch, [rule.when for rule in node.rules], answers)
    if isinstance(first, CallError):
        fail(work, branch, first, "enter")
    else:
        _give(work, branch, node.default if first is None else node.rules[first].then)


def _give(work: Work, branch: Branch, values: Mapping[str, Value] | None) -> None:
    if values is None:
        message = f"no rule of node {branch.at!r} is true, and it has no default"
        error = CallError(type="NoRule", message=message, node=branch.at, visit=branch.visit, do="override the node")
        fail(work, branch, error, "enter")
        return
    result = resolve_inline(work, branch, values)
    if isinstance(result, CallError):
        block(work, branch, result, "enter")
        return
    work.task_note(branch, "succeeded", result)
    work.then("complete", replace(branch, kept=NodeResult(branch.visit, result)))


def _start_router(work: Work, branch: Branch) -> None:
    router = work.node(branch).router
    if router is None or router.function is not None:
        _start_call("code")(work, branch)
        return
    given = resolve_inline(work, branch, work.node(branch).values)
    if isinstance(given, CallError):
        block(work, branch, given, "enter")
        return
    value = given["field"]
    text = value if isinstance(value, str) else json_text(value)
    target = router.routes.get(text, router.routes.get(REST))
    if target is None:
        message = f"router {branch.at!r} has no route for {text[:200]!r}"
        do = f"""override the node with {{"next": NODE}}: {", ".join(sorted(set(router.routes.values())))}"""
        block(work, branch, CallError(type="NoRoute", message=message, do=do), "enter")
        return
    result: Json = {"next": target}
    work.task_note(branch, "succeeded", result)
    work.then("complete", replace(branch, kept=NodeResult(branch.visit, result)))


STARTS: Mapping[NodeType, Callable[[Work, Branch], None]] = {
    "llm": _start_llm,
    "agent": start_agent,
    "tool": _start_call("tool"),
    "http": _start_call("http"),
    "rules": _start_rules,
    "human": start_human,
    "wait": start_wait,
    "router": _start_router,
}


def _too_often(branch: Branch, cap: int) -> CallError:
    return CallError(
        type="MaxVisits",
        message=f"node {branch.at!r} was entered more than {cap} times",
        node=branch.at,
        visit=branch.visit,
        do="retry allows one more visit; or skip the node, or override it",
    )
