"""Act 7: the record of the refund is exported, somebody changes who got the mail, and the verifier names the entry."""

from __future__ import annotations

from vertebra.cli.demo.play import CannotGoOn, Play
from vertebra.cli.demo.tickets import REFUND
from vertebra.cli.endings import FAILED

_FILE = "audit.jsonl"
_TRUE, _FORGED = "priya@example.org", "mallory@example.org"


async def tampering(play: Play) -> None:
    """Verify everything, export one run, verify the file, change one entry, verify again."""
    run = play.labelled(REFUND)
    await play.vertebra("audit", "verify")
    await play.vertebra("audit", "export", run, "--out", _FILE)
    await play.vertebra("audit", "verify", "--file", _FILE)
    number = _forge(play)
    said = await play.heard("audit", "verify", "--file", _FILE, code=FAILED)
    play.check(f"{run} entry {number}:" in said, f"the verifier names entry {number}")


def _forge(play: Play) -> int:
    """Change the last entry that names the customer; its number, which is its line's: the head stands above."""
    file = play.folder / _FILE
    lines = file.read_text(encoding="utf-8").split("\n")
    naming = [number for number, line in enumerate(lines) if _TRUE in line]
    if not naming:
        raise CannotGoOn(f"no entry of {_FILE} names {_TRUE}")
    number = naming[-1]
    lines[number] = lines[number].replace(_TRUE, _FORGED)
    file.write_text("\n".join(lines), encoding="utf-8")
    play.screen.line(f"in {_FILE}, entry {number}: {_TRUE} becomes {_FORGED}", "bold")
    return number
