"""The body of an answer: read within bounds, whatever a small one unpacks to, and turned into a value."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

import orjson

from models.records import ErrorType
from services.actions.outcome import ActionFailed

if TYPE_CHECKING:
    import httpx

ACCEPTED = "gzip, deflate"
PACKED = frozenset(["gzip", "x-gzip", "deflate"])
PLAIN = frozenset(["", "identity"])
EITHER_HEADER, NO_HEADER = 47, -15  # zlib's names for gzip or zlib by its header, and for neither
CHARSET = re.compile(r"^(utf-?(8|16|32)([lb]e)?|us-ascii|ascii|latin-?1|iso-8859-\d+|windows-125\d|koi8-[ru]|"
                     r"shift_jis|euc-(jp|kr)|gbk?|gb2312|gb18030|big5)$", re.IGNORECASE)  # fmt: skip
"""Charsets that are read; others could be made to cost much."""


async def read(answer: httpx.Response, limit: int) -> bytes:
    """The unpacked body. Raises ActionFailed when it is larger than `limit` bytes, or packed in an unknown way."""
    coding = answer.headers.get("content-encoding", "").strip().lower()
    if coding not in PACKED | PLAIN:
        raise ActionFailed(f"the response has an unknown content encoding '{coding}'", kind=ErrorType.API_ERROR)
    unpacked = _Unpacked() if coding in PACKED else None
    parts, size = [], 0
    async for raw in answer.aiter_raw():
        part = raw if unpacked is None else unpacked.take(raw, limit - size)
        size += len(part)
        if size > limit:
            raise ActionFailed(f"the response is larger than {limit:,} bytes", kind=ErrorType.LIMIT)
        parts.append(part)
    return b"".join(parts)


class _Unpacked:
    """Unpacks gzip and deflate piece by piece, and never more than it may."""

    def __init__(self) -> None:
        self._packer = zlib.decompressobj(EITHER_HEADER)
        self._fresh = True

    def take(self, raw: bytes, room: int) -> bytes:
        """What this piece unpacks to, cut off one byte after `room`."""
        try:
            found = self._unpack(raw, room + 1)
        except zlib.error as error:
            raise ActionFailed("the response is not packed as it says", kind=ErrorType.API_ERROR) from error
        self._fresh = False
        return found

    def _unpack(self, raw: bytes, most: int) -> bytes:
        parts, left = [], most
        while raw and left > 0:
            if self._packer.eof:  # another member of the same file
                self._packer = zlib.decompressobj(EITHER_HEADER)
            try:
                part = self._packer.decompress(raw, left)
            except zlib.error:
                if not self._fresh:
                    raise
                self._packer, self._fresh = zlib.decompressobj(NO_HEADER), False
                continue
            self._fresh = False
            parts.append(part)
            left -= len(part)
            raw = self._packer.unused_data
        return b"".join(parts)


def decoded(answer: httpx.Response, body: bytes) -> Any:
    """The value of a body: what its JSON says, else text; None when there is none."""
    if not body:
        return None
    if "json" in answer.headers.get("content-type", ""):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    charset = answer.charset_encoding or "utf-8"
    return body.decode(charset if CHARSET.match(charset) else "utf-8", "replace")
