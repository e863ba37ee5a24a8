"""What a command writes reaches a terminal as text, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from vertebra.cli.approvals import _indented
from vertebra.cli.output import Output, one_line, table

ODD = "a\x1b[2Jb\x9b31mc\u202ed\re\tf\ng\N{FAMILY}\u200dü"
SHOWN = "a\\u001b[2Jb\\u009b31mc\\u202ed\\u000de\tf\ng\N{FAMILY}\u200dü"


def test_no_text_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's text can neither clear what an approver reads nor turn its letters round; lines and tabs stay."""
    out = Output(as_json=False)
    out.give(None, ODD)
    out.line(ODD)
    out.say(ODD)

    written = capsys.readouterr()
    assert (f"{SHOWN}\n" * 2, f"{SHOWN}\n") == (written.out, written.err)


def test_json_says_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read what was meant; a terminal obeys nothing in it."""
    Output(as_json=True).give({"text": ODD}, "")

    written = capsys.readouterr().out
    assert {"text": ODD} == json.loads(written)
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)


def test_half_a_surrogate_pair_is_shown_by_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot be written: a line that holds one would end the command."""
    Output(as_json=True).give("a\ud800", "")

    assert '"a\\ud800"\n' == capsys.readouterr().out


def test_no_text_writes_a_line_of_its_own() -> None:
    """Neither an error in a line or cell nor an argument that is shown for approval can pass for one of our lines."""
    forged = "x\nwaits     pay for approval"

    assert "\n" not in one_line(forged)
    assert 2 == table(("ERROR", "ACTOR"), [(forged, "ada")]).count("\n") + 1
    for separator in ("\u2028", "\u2029", "\x85"):
        assert ["  {", f'    "body": "a{separator}digest"', "  }"] == _indented({"body": f"a{separator}digest"})
