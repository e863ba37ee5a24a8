"""`store/sql/ledger.sql` over rows in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.testing.answers.taken import columns, one, open_runs
from vertebra.testing.rows import Answer, Params, Row, Rows

BOOKS = """id tenant state epoch ended_at correlation_id audit_seq audit_hash limit_microusd limit_tokens on_breach
    spent_microusd spent_tokens held_microusd held_tokens counters"""
UNITS = ("microusd", "tokens")
OPEN = ("held", "unknown")


def reserve(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in open_runs(rows, p["run"]) if all(_fits(row, unit, p[unit]) for unit in UNITS)]
    held = [{f"held_{unit}": row[f"held_{unit}"] + p[unit] for unit in UNITS} for row in found]
    return [columns(rows.change("runs", (p["run"],), touched_at=rows.now, **more), BOOKS) for more in held]


def books(rows: Rows, p: Params) -> list[Row]:
    return [columns(row, BOOKS) for row in one(rows.get("runs", p["run"]))]


def open_attempt(rows: Rows, p: Params) -> None:
    row = {
        **columns(dict(p), "tenant call n run execution_id worker price_digest opened_by"),
        "state": "held",
        "class": None,
        "counts": False,
        "reserved_microusd": p["microusd"],
        "reserved_tokens": p["tokens"],
        "settled_microusd": None,
        "settled_tokens": None,
        "estimated": False,
        "raw_usage": None,
        "started_at": rows.now,
        "ended_at": None,
    }
    rows.insert("attempts", (p["call"], p["n"]), row)


def lose_attempts(rows: Rows, p: Params) -> list[Row]:
    lost = [row for row in rows.of("attempts", call=p["call"], state="held") if row["n"] != p["n"]]
    for row in lost:
        ended = {"class": row["class"] or "lost", "ended_at": rows.now}
        rows.change("attempts", (row["call"], row["n"]), state="unknown", **ended)
    return [{"n": row["n"]} for row in lost]


def end_attempt(rows: Rows, p: Params) -> list[Row]:
    run, attempt = rows.get("runs", p["run"]), rows.get("attempts", p["call"], p["n"])
    if run is None:
        return []
    if attempt is None or attempt["run"] != p["run"] or not _may_end(attempt["state"], p["state"]):
        return [columns(rows.change("runs", (p["run"],), touched_at=rows.now), BOOKS, ended=False)]
    ended = columns(dict(p), "state class counts estimated raw_usage", ended_at=rows.now)
    rows.change("attempts", (p["call"], p["n"]), **ended, **{f"settled_{unit}": p[unit] for unit in UNITS})
    changed: Row = {"touched_at": rows.now}
    for unit in UNITS:
        given_back = 0 if p["state"] == "unknown" else attempt[f"reserved_{unit}"]
        changed[f"held_{unit}"] = run[f"held_{unit}"] - given_back
        changed[f"spent_{unit}"] = run[f"spent_{unit}"] + (p[unit] or 0)
    if p["figures"] is not None:
        changed["counters"] = {"run": count(run["counters"].get("run", {}), p["figures"].obj)}
    return [columns(rows.change("runs", (p["run"],), **changed), BOOKS, ended=True)]


def top_up(rows: Rows, p: Params) -> list[Row]:
    run, command = rows.get("runs", p["run"]), rows.get("commands", p["command"])
    if run is None:
        return []
    applied = command is not None and command["run"] == p["run"] and command["applied_at"] is None
    changed: Row = {"touched_at": rows.now}
    if applied:
        rows.change("commands", (p["command"],), applied_at=rows.now)
        limits = {f"limit_{unit}": run[f"limit_{unit}"] for unit in UNITS}
        changed |= {name: None if limit is None else limit + p[name[6:]] for name, limit in limits.items()}
    return [columns(rows.change("runs", (p["run"],), **changed), BOOKS, applied=applied)]


def held(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("attempts", run=p["run"]) if row["state"] in OPEN]
    wanted = "call n state worker execution_id reserved_microusd reserved_tokens started_at"
    order = sorted(found, key=lambda row: (row["started_at"], row["call"], row["n"]))
    calls = {row["id"]: row for row in rows.of("calls", run=p["run"])}
    return [columns(row, wanted, **columns(calls[row["call"]], "activity_id node visit")) for row in order]


def check_books(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("runs") if p["run"] is None else one(rows.get("runs", p["run"]))
    checked = [columns(row, "id", **_kept(row), **_summed(rows, row["id"])) for row in found]
    return [row for row in checked if any(row[name] != row[f"attempts_{name}"] for name in _kept(row))]


def count(scoped: Mapping[str, Any], figures: Mapping[str, int]) -> dict[str, Any]:
    """As the function `vertebra_count` of the database; no statement of a play asks for agents and nodes."""
    found = dict(scoped)
    for name, value in figures.items():
        old = found.get(name, {})
        found[name] = {
            "count": old.get("count", 0) + 1,
            "sum": old.get("sum", 0) + value,
            "max": max(old.get("max", value), value),
            "last": value,
        }
    return found


def _fits(run: Row, unit: str, more: int) -> bool:
    limit: int | None = run[f"limit_{unit}"]
    used: int = run[f"spent_{unit}"] + run[f"held_{unit}"]
    return more == 0 or limit is None or used + more <= limit


def _may_end(state: str, wanted: str) -> bool:
    return state == "held" or (state == "unknown" and wanted != "unknown")


def _kept(run: Row) -> Row:
    return columns(run, "spent_microusd spent_tokens held_microusd held_tokens")


def _summed(rows: Rows, run: str) -> Row:
    attempts = rows.of("attempts", run=run)
    sums: Row = {}
    for unit in UNITS:
        sums[f"attempts_spent_{unit}"] = sum(row[f"settled_{unit}"] or 0 for row in attempts)
        sums[f"attempts_held_{unit}"] = sum(row[f"reserved_{unit}"] for row in attempts if row["state"] in OPEN)
    return sums


ANSWERS: Mapping[str, Answer] = {
    "reserve": reserve,
    "head": books,
    "books": books,
    "open_attempt": open_attempt,
    "lose_attempts": lose_attempts,
    "end_attempt": end_attempt,
    "top_up": top_up,
    "held": held,
    "check_books": check_books,
}
