"""The program of the CEL child: evaluates one expression at a time, and dies rather than overrun its limits.

It runs as a script with the standard library and the CEL library alone, `cel_worker.py SITE_PACKAGES PARENT_PID CPU_S
MEMORY_BYTES`. Each request is a line `[source, names, facts]`, each answer a line `[true, value]` or `[false, error]`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections import OrderedDict
from functools import lru_cache
from typing import Any

_CACHED = 1000
_MAX_ANSWER = 1_000_000
_PR_SET_PDEATHSIG = 1
_CODES = {
    "NOT_FOUND": "a field that it reads is absent",
    "OUT_OF_RANGE": "a number or position is out of range",
    "RESOURCE_EXHAUSTED": "it takes too many steps",
}


def main(site_packages: str, parent: int, cpu_s: float, memory_bytes: int) -> None:
    """Serve until the input ends."""
    _bind_to_parent(parent)
    sys.path.append(site_packages)
    evaluator = Evaluator()
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        # CPU time, so that a busy machine fails no condition; the default action of SIGPROF ends the process.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        out.write(_answer(evaluator, line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.flush()


def _bind_to_parent(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes our input
    if sys.platform == "linux":
        import ctypes  # only here, and only on Linux

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def _answer(evaluator: Evaluator, line: bytes) -> bytes:
    try:
        source, names, facts = json.loads(line)
        answer = evaluator.evaluate(source, tuple(names), facts)
        text = json.dumps(answer, allow_nan=False).encode()
    except MemoryError:
        text = json.dumps([False, "it needs too much memory"]).encode()
    except (ValueError, TypeError, RecursionError):
        text = json.dumps([False, "it gives no plain value"]).encode()
    if len(text) > _MAX_ANSWER:
        text = json.dumps([False, f"its value is larger than {_MAX_ANSWER} bytes"]).encode()
    return text + b"\n"


class Evaluator:
    """Compiles each expression once, and reads CEL's answers, which give errors as values."""

    def __init__(self) -> None:
        from cel_expr_python import cel  # found only after the path is set

        self._cel: Any = cel
        self._compiled: OrderedDict[tuple[str, tuple[str, ...]], Any] = OrderedDict()
        self._environment = lru_cache(maxsize=100)(self._new_environment)  # 150 kB each

    def evaluate(self, source: str, names: tuple[str, ...], facts: dict[str, Any]) -> tuple[bool, Any]:
        """Whether it has a value, and the value or the error."""
        try:
            expression = self._expression(source, names)
        except (RuntimeError, TypeError):
            return False, "it cannot be compiled"
        try:
            value = expression.eval(data=facts)
            kind = value.type()
            plain = value.plain_value()
        except RuntimeError as error:
            return False, explained(str(error), source)
        if kind == self._cel.Type.ERROR or kind == self._cel.Type.UNKNOWN:
            return False, explained(str(plain), source)
        return True, plain

    def _expression(self, source: str, names: tuple[str, ...]) -> Any:
        key = (source, names)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._environment(names).compile(source)
            if len(self._compiled) > _CACHED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(key)
        return found

    def _new_environment(self, names: tuple[str, ...]) -> Any:
        return self._cel.NewEnv(variables=dict.fromkeys(names, self._cel.Type.DYN))


def explained(error: str, source: str) -> str:
    """An error without the values that it may hold: only words of the author's own text are repeated."""
    match = re.search(r'(?:Key not found in map : |No value with name )"([A-Za-z_]\w*)"', error)
    if match is not None and re.search(rf"\b{match[1]}\b", source):
        return f"{match[1]!r} is absent"
    if re.search(r"(?:divide|modulus) by zero", error):
        return "it divides by zero"
    if "budget exceeded" in error:
        return "it takes too many steps"
    if "overload" in error:
        return "an operation does not fit the types of its values"
    return _CODES.get(error.partition(":")[0], "it fails on these values")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
