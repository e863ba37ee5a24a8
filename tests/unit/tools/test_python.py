"""The body of the `python` tool, run here; the sandbox around it is tested in tests/attacks and tests/integration."""

from __future__ import annotations

import pytest

from vertebra.tools.builtin.python import Ran, python


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(6 * 7)", Ran("42\n")),
        ("6 * 7", Ran("", 42)),
        ("x = [1, 2]\nprint('hi')\n{'sum': sum(x)}", Ran("hi\n", {"sum": 3})),
        ("def f(n): return n and n * f(n - 1) or 1\nf(5)", Ran("", 120)),
        ("float('nan')", Ran("", "nan")),
        ("object", Ran("", "<class 'object'>")),
        ("2 ** 64", Ran("", "18446744073709551616")),
        ("print('a\\0b', end='')", Ran("a\ufffdb")),
        ("", Ran("")),
    ],
)
def test_code_gives_its_output_and_last_value(code: str, expected: Ran) -> None:
    """What was printed and the last expression come back; a value that is no JSON as its repr."""
    assert expected == python.function(code=code)


def test_output_is_cut() -> None:
    """Printing without end neither grows memory nor the answer."""
    ran = python.function(code="for _ in range(1000): print('x' * 1000)")

    assert isinstance(ran, Ran)
    assert len(ran.stdout) == 65536
