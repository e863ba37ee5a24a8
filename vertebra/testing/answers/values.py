"""`store/sql/values.sql` over rows in memory."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.testing.answers.taken import columns, one
from vertebra.testing.rows import Answer, Params, Row, Rows


def put_artifact(rows: Rows, p: Params) -> None:
    rows.add("artifacts", (p["tenant"], p["sha256"]), dict(p))


def get_artifact(rows: Rows, p: Params) -> list[Row]:
    found = one(rows.get("artifacts", p["tenant"], p["sha256"]))
    return [columns(row, "sha256 size media_type bytes place") for row in found]


def put_text(rows: Rows, p: Params) -> None:
    rows.add("texts", (p["tenant"], p["digest"]), dict(p))


def get_texts(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("texts", tenant=p["tenant"])
    return [columns(row, "digest kind bytes") for row in found if row["digest"] in p["digests"]]


ANSWERS: Mapping[str, Answer] = {
    "put_artifact": put_artifact,
    "get_artifact": get_artifact,
    "put_text": put_text,
    "get_texts": get_texts,
}
