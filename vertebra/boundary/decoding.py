"""Reads the body of an answer within a bound that holds after decompression, however small the bomb was on the wire."""

from __future__ import annotations

import zlib

import httpx2

from vertebra.schemas.errors import HttpFailed

ASKED = "gzip, deflate"
"""What `read_body` unpacks, as a request asks for it: a client's own list grows with what is installed beside it."""
_GZIP = 16 + zlib.MAX_WBITS
_WINDOW = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


async def read_body(response: httpx2.Response, limit: int) -> bytes:
    """The whole body. Raises HttpFailed past `limit` bytes, for an encoding that was not asked for, or a broken one."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    if coding in ("identity", ""):
        return await _plain(response, limit)
    if coding not in _WINDOW:
        raise HttpFailed("the answer is encoded in a way that was not asked for", kind="malformed")
    return await _inflated(response, _WINDOW[coding], limit)


async def _plain(response: httpx2.Response, limit: int) -> bytes:
    found = bytearray()
    async for chunk in response.aiter_raw():
        found += chunk
        if len(found) > limit:
            raise _too_large(limit)
    return bytes(found)


async def _inflated(response: httpx2.Response, window: int, limit: int) -> bytes:
    """A chunk of 64 KB may hold 64 MB, so the library is told how much it may give."""
    found, inflate = bytearray(), zlib.decompressobj(window)
    try:
        async for chunk in response.aiter_raw():
            found += inflate.decompress(chunk, limit + 1 - len(found))
            if len(found) > limit:
                raise _too_large(limit)
    except zlib.error:
        raise HttpFailed("the answer's compression is broken", kind="malformed") from None
    if not inflate.eof or inflate.unused_data:
        raise HttpFailed("the answer's compression ends early or goes on after its end", kind="malformed")
    return bytes(found)


def _too_large(limit: int) -> HttpFailed:
    return HttpFailed(f"the answer has more than {limit} bytes", kind="too_large")
