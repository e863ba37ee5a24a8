"""Run code that a model wrote. This file runs inside the sandbox: standard library only."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from dataclasses import dataclass

from vertebra.tools.contract import JsonValue, tool

_PRINTED_CHARS = 64 * 1024


@dataclass(frozen=True)
class Ran:
    """What the code printed (cut at 64 KiB), and the value of its last line if that is an expression."""

    stdout: str
    value: JsonValue = None


@tool(effect="pure", runs="sandbox", timeout="30s", security_level="high")
def python(code: str) -> Ran:
    """Run Python code without network or files and return what it prints and the value of its last expression."""
    tree = ast.parse(code, "<code>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names: dict[str, object] = {"__name__": "__main__"}
    printed = _Bounded()
    value: object = None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, "<code>", "exec"), names)  # noqa: S102 - this is what the tool is for
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)  # noqa: S307 - likewise
    except BaseException:
        sys.stderr.write(printed.getvalue())  # what it printed before it failed is shown beside the error
        raise
    return Ran(printed.getvalue(), _plain(value))


class _Bounded(io.StringIO):
    """Text that stops growing at its limit."""

    def write(self, text: str) -> int:
        room = _PRINTED_CHARS - self.tell()
        if room > 0:
            super().write(text[:room].encode(errors="replace").decode().replace("\0", "\ufffd"))
        return len(text)


def _plain(value: object) -> JsonValue:
    """The value if it is JSON, else its `repr`; integers that other languages cannot hold as text."""
    try:
        plain: JsonValue = json.loads(json.dumps(value, allow_nan=False), parse_int=_integer)
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:_PRINTED_CHARS]
    return plain


def _integer(digits: str) -> int | str:
    return int(digits) if abs(int(digits)) < 2**53 else digits
