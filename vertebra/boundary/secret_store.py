"""The values behind the names of secrets, read at the moment when they are used."""

from __future__ import annotations

import os
from pathlib import Path

from vertebra.schemas.errors import SettingsError
from vertebra.schemas.ids import SECRET


def environment_secret(name: str) -> str | None:
    """The value of `secret://env/NAME` or `secret://file/PATH`; None if there is none. Raises SettingsError."""
    if (named := SECRET.fullmatch(name)) is None:
        # not quoted: whoever writes a key where its name belongs must not find it in a log
        raise SettingsError("this names no store of secrets", do="write secret://env/NAME or secret://file/PATH")
    if named["env"]:
        return os.environ.get(named["env"])
    path = Path("/" + named["file"])
    try:
        return path.read_text(encoding="utf-8").strip() if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"the secret in {path} cannot be read: {why}", do="check its owner and mode") from None
