"""How worker and tool host talk: one frame is four bytes of length and that many bytes of JSON."""

from __future__ import annotations

import asyncio

FRAME_BYTES = 8_000_000
"""More than the largest answer and what it printed, escaped."""
_HEAD = 4


class BadFrame(Exception):
    """A frame is larger than any that we send."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame. Raises BadFrame, and IncompleteReadError if the other side has gone."""
    size = int.from_bytes(await reader.readexactly(_HEAD), "big")
    if size > FRAME_BYTES:
        raise BadFrame(f"a frame of {size} bytes")
    return await reader.readexactly(size)


async def write_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send one frame. Raises BadFrame, and ConnectionError if the other side has gone."""
    if len(data) > FRAME_BYTES:
        raise BadFrame(f"a frame of {len(data)} bytes")
    writer.write(len(data).to_bytes(_HEAD, "big") + data)
    await writer.drain()
