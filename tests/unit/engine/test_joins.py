"""Forks and joins: what branches see, what a join puts together, and when it fires."""

from __future__ import annotations

from tests.make import channel, graph, llm, rules
from tests.unit.engine.drive import Drive
from vertebra.engine.commands import Call
from vertebra.schemas.graph import CompiledGraph

LOG = {"log": channel("list", "append")}


def _diamond() -> CompiledGraph:
    nodes = [llm("a", write={"log": "y"}), *(llm(n, write={"log": "y"}) for n in "bc"), llm("d", {"log": "state.log"})]
    return graph(nodes, "a -> b, c", "b, c -> d", state=LOG)


def test_a_join_waits_for_all_and_keeps_node_order() -> None:
    """Whoever comes first, the writes stand in node-id order after those of before the fork."""
    run = Drive(_diamond())
    run.done("a#1.1", "a")
    assert ["b#1.1", "c#1.1"] == run.calls
    run.done("c#1.1", "c")
    assert [] == run.calls
    run.done("b#1.1", "b")

    assert {"log": ["a", "b", "c"]} == run.of(Call)[0].input.values


def test_a_branch_sees_its_own_writes_only() -> None:
    """What another branch wrote or returned is not there before the join."""
    nodes = [
        llm("a"),
        llm("b", write={"log": "y"}),
        llm("c"),
        llm("c2", {"log": "?state.log", "b": "?b.y", "c": "c.y"}),
    ]
    run = Drive(graph([*nodes, llm("d")], "a -> b, c", "c -> c2", "b, c2 -> d", state=LOG))
    run.done("a#1.1", "a")
    run.done("b#1.1", "b")
    run.done("c#1.1", "c")

    assert {"c": "c"} == run.of(Call)[0].input.values


def test_results_of_all_branches_are_there_after_the_join() -> None:
    """The joined node reads every branch's results by node name."""
    nodes = [llm("a"), llm("b"), llm("c"), llm("d", {"b": "b.y", "c": "c.y"})]
    run = Drive(graph(nodes, "a -> b, c", "b, c -> d"))
    for name in "acb":
        run.done(f"{name}#1.1", name)

    assert {"b": "b", "c": "c"} == run.of(Call)[0].input.values


def test_a_join_fires_over_the_branches_that_were_taken() -> None:
    """Of four edges two are true: the join waits for these two."""
    names = ["p", "q", "r", "s"]
    edges = [f"a => {name} when a.{name} == 1" for name in names]
    run = Drive(graph([llm("a"), *map(llm, names), llm("z")], *edges, "p, q, r, s -> z"))
    run.done("a#1.1", "a")
    run.decides(True, False, True, False)
    assert ["p#1.1", "r#1.1"] == run.calls
    run.done("r#1.1", "r")
    run.done("p#1.1", "p")

    assert ["z#1.1"] == run.calls


def test_one_taken_edge_of_a_group_is_no_fork() -> None:
    """A group with one true edge goes on in the same branch, and its join does not wait."""
    run = Drive(
        graph([llm("a"), llm("p"), llm("q"), llm("z")], "a => p when a.p == 1", "a => q when a.q == 1", "p, q -> z")
    )
    run.done("a#1.1", "a")
    run.decides(False, True)
    run.done("q#1.1", "q")

    assert ["z#1.1"] == run.calls


def test_a_group_without_a_true_edge_blocks() -> None:
    """Nothing true and no else: a person must say what comes next."""
    run = Drive(
        graph([llm("a"), llm("p"), llm("q"), llm("z")], "a => p when a.p == 1", "a => q when a.q == 1", "p, q -> z")
    )
    run.done("a#1.1", "a")
    run.decides(False, False)

    assert [("a#1", "NoEdge")] == run.blocked


def test_a_branch_that_goes_elsewhere_is_not_waited_for() -> None:
    """A branch that cannot reach the join any more does not hold it."""
    nodes = [llm("a"), llm("b"), llm("c"), llm("away"), llm("join"), llm("last")]
    made = graph(nodes, "a -> b, c", "c -> away when c.y == 'x'", "c -> join else", "b -> join", "join, away -> last")
    joins = {"join": made.joins["last"].model_copy(update={"sources": ("b", "c"), "upstream": ("a", "b", "c")})}
    run = Drive(made.model_copy(update={"joins": {**made.joins, **joins}}))
    run.done("a#1.1", "a")
    run.done("b#1.1", "b")
    assert [] == run.calls
    run.done("c#1.1", "x")
    run.decides(True)

    assert ["away#1.1", "join#1.1"] == run.calls


def test_a_blocked_branch_is_waited_for() -> None:
    """A join does not fire past a blocked node; once it is skipped, it does."""
    run = Drive(_diamond())
    run.done("a#1.1", "a")
    run.fails("b#1.1")
    run.done("c#1.1", "c")
    assert [] == run.calls
    run.answers("b#1", "skip")

    assert {"log": ["a", "c"]} == run.of(Call)[0].input.values


def test_a_nested_fork_joins_outwards() -> None:
    """The inner join's writes are the inner branches', in order, at the place of the outer branch."""
    nodes = [llm(n, write={"log": "y"}) for n in ("a", "b", "x", "y", "c", "m")]
    made = graph(
        [*nodes, llm("z", {"log": "state.log"})], "a -> b, c", "b -> x, y", "x, y -> m", "m, c -> z", state=LOG
    )
    run = Drive(made)
    for name in ("a", "c", "b", "y", "x", "m"):
        run.done(f"{name}#1.1", name)

    # sources c, m: node-id order puts c first, then everything of m's branch
    assert {"log": ["a", "c", "b", "x", "y", "m"]} == run.of(Call)[0].input.values


def test_forks_inside_a_branch_may_meet_the_others_at_once() -> None:
    """One join over branches of two forks: what a branch wrote before it forked stands once, before its branches."""
    nodes = [llm(n, write={"log": "y"}) for n in ("a", "b", "x", "y", "c")]
    run = Drive(graph([*nodes, llm("z", {"log": "state.log"})], "a -> b, c", "b -> x, y", "x, y, c -> z", state=LOG))
    for name in ("a", "b", "y", "c", "x"):
        run.done(f"{name}#1.1", name)

    assert {"log": ["a", "c", "b", "x", "y"]} == run.of(Call)[0].input.values


def test_some_branches_may_meet_before_the_rest() -> None:
    """A join of two of three branches goes on beside the third, sees only its own, and meets it later."""
    nodes = [llm(n, write={"log": "y"}) for n in ("a", "b", "c", "d")]
    made = graph(
        [*nodes, llm("m", {"log": "state.log"}, write={"log": "y"}), llm("z", {"log": "state.log"})],
        "a -> b, c, d",
        "b, c -> m",
        "m, d -> z",
        state=LOG,
    )
    run = Drive(made)
    for name in ("a", "d", "c", "b"):
        run.done(f"{name}#1.1", name)
    assert {"log": ["a", "b", "c"]} == run.of(Call)[0].input.values
    run.done("m#1.1", "m")

    assert {"log": ["a", "d", "b", "c", "m"]} == run.of(Call)[0].input.values


def test_two_joins_in_a_cycle_do_not_wait_for_each_other() -> None:
    """A way round through the fork is another round, not a branch to wait for."""
    made = graph(
        [llm(n) for n in ("a", "b", "c", "d", "m", "z")],
        "a -> b, c, d",
        "b, c -> m",
        "m, d -> z",
        "z -> a when z.y == 'again'",
        "z -> end else",
    )
    run = Drive(made)
    for name in ("a", "d", "c", "b", "m"):
        run.done(f"{name}#1.1", name)
    assert ["z#1.1"] == run.calls
    run.done("z#1.1", "again")
    run.decides(True)
    run.done("a#2.1", "a")

    assert ["b#2.1", "c#2.1", "d#2.1"] == run.calls


def test_a_run_that_could_never_go_on_blocks() -> None:
    """Joins that wait for each other, as only a wrongly compiled graph has them, are shown and not hung on."""
    made = graph([llm(n) for n in ("a", "b", "c", "m", "z")], "a -> b, c", "b -> m", "c -> z", "m, z -> end")
    join = made.joins["end"].model_copy(update={"fork": "a", "upstream": ("b", "c", "m", "z")})
    joins = {"m": join.model_copy(update={"sources": ("b",)}), "z": join.model_copy(update={"sources": ("c",)})}
    run = Drive(made.model_copy(update={"joins": joins}))
    for name in ("a", "b", "c"):
        run.done(f"{name}#1.1", name)

    assert [("b#1", "JoinStuck")] == run.blocked


def test_of_two_results_of_one_node_the_later_visit_stands() -> None:
    """A node that ran before the fork and again in a branch is read as the branch left it."""
    nodes = [llm("p"), llm("a"), llm("b"), llm("c"), llm("d", {"p": "p.y"})]
    made = graph(nodes, "p -> a when p.y == 'first'", "p -> d else", "a -> b, c", "b -> p", "p, c -> d")
    join = made.joins["d"].model_copy(update={"fork": "a", "upstream": ("a", "b", "c", "p")})
    routes = {**made.routes, "p": made.routes["p"].model_copy(update={"edges": made.routes["p"].edges[:2]})}
    run = Drive(made.model_copy(update={"joins": {"d": join}, "routes": routes}))
    run.done("p#1.1", "first")
    run.decides(True)
    for name in ("a", "b", "c"):
        run.done(f"{name}#1.1", name)
    run.done("p#2.1", "second")
    run.decides(False)

    assert {"p": "second"} == run.of(Call)[0].input.values


def test_a_join_of_alternatives_does_not_wait() -> None:
    """Sources of which only one can come are entered one by one."""
    made = graph(
        [llm("a"), llm("b"), llm("c"), rules("d", default={"k": "=1"})],
        "a -> b when a.y == 1",
        "a -> c else",
        "b, c -> d",
    )
    run = Drive(made)
    run.done("a#1.1", "a")
    run.decides(True)
    run.done("b#1.1", "b")

    assert "completed" == run.finish.end


def test_a_joined_run_is_one_branch_again() -> None:
    """Nothing is left of the branches, however they were nested: a long run does not grow by its forks."""
    nodes = [llm(n) for n in ("a", "b", "x", "y", "c", "z")]
    run = Drive(graph(nodes, "a -> b, c", "b -> x, y", "x, y, c -> z"))
    for name in ("a", "b", "y", "c", "x"):
        run.done(f"{name}#1.1", name)

    assert [""] == list(run.state.branches)


def test_plain_edges_of_a_group_are_taken_without_asking() -> None:
    """A group without conditions is a fork."""
    run = Drive(graph([llm("a"), llm("b"), llm("c"), llm("d")], "a => b", "a => c", "b, c -> d"))
    run.done("a#1.1", "a")

    assert ["b#1.1", "c#1.1"] == run.calls


def test_two_rounds_of_one_fork_at_once_join_apart() -> None:
    """Two branches enter the same fork: each round's join waits for its own branches only."""
    nodes = [llm(n) for n in ("o", "p", "q", "f", "b", "c", "j", "z")]
    made = graph(nodes, "o -> p, q", "p -> f", "q -> f", "f -> b, c", "b, c -> j", "j -> z")
    run = Drive(made)
    for activity in ("o#1.1", "p#1.1", "q#1.1", "f#1.1", "f#2.1", "b#1.1"):
        run.done(activity, "y")
    assert [] == run.calls
    run.done("c#1.1", "y")
    assert ["j#1.1"] == run.calls


def test_a_fork_may_lead_to_its_own_join() -> None:
    """The branch that goes straight to the join waits there for the other."""
    run = Drive(graph([llm("a"), llm("b"), llm("j")], "a => b", "a, b -> j"))
    run.done("a#1.1", "a")
    assert ["b#1.1"] == run.calls
    run.done("b#1.1", "b")
    assert ["j#1.1"] == run.calls
