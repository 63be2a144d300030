"""Lists: `page` and `per_page`, or a cursor that continues at constant cost however deep.

A cursor is the sort key of the last row, encoded and otherwise plain: it grants nothing, and a wrong one is a 400.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import Field

from controllers.shapes import BaseModel
from services.errors import Invalid

MAX_OFFSET = 10_000
TIME_AND_ID = (datetime, UUID)
"""The kinds of the usual sort key: newest first, ids for ties."""


class PageQuery(BaseModel):
    """How much of a list, and from where."""

    page: int = Field(1, ge=1, le=1_000_000, description="Page, from 1")
    per_page: int = Field(20, ge=1, le=100, description="Items a page")
    cursor: str | None = Field(None, max_length=2_000, description="`next_cursor` of the page before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A page as the services understand it. `after`: the sort key to continue behind, None = by offset."""

    limit: int
    offset: int = 0
    after: tuple[Any, ...] | None = None
    page: int = 1


def window(query: PageQuery, *kinds: type) -> Window:
    """The window a query asks for; `kinds` are the types of the sort key a cursor must carry.

    Raises `Invalid` for a foreign cursor, and beyond 10,000 rows by page, naming `cursor`.
    """
    if query.cursor:  # a script that begins with an empty one means the first page
        return Window(limit=query.per_page, after=read_cursor(query.cursor, *kinds), page=query.page)
    if query.page * query.per_page > MAX_OFFSET:
        message = f"page × per_page may reach {MAX_OFFSET}; continue with cursor=<next_cursor>"
        raise Invalid(message, errors=[{"loc": ["query", "page"], "message": message, "type": "too_deep"}])
    return Window(limit=query.per_page, offset=(query.page - 1) * query.per_page, page=query.page)


def cursor(*key: Any) -> str:
    """A sort key as a cursor."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in key]
    return base64.urlsafe_b64encode(orjson.dumps(plain, default=str)).decode().rstrip("=")


def read_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """The sort key of a cursor.

    Raises `Invalid` when it is not one of ours or belongs to another list.
    """
    try:
        values = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return tuple(_typed(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, binascii.Error):
        message = "not a cursor of this list"
        raise Invalid(message, errors=[{"loc": ["query", "cursor"], "message": message, "type": "cursor"}]) from None


def pagination(
    at: Window, *, total: int, shown: Sequence[Any], next_key: tuple[Any, ...] | None, capped: bool = False
) -> dict[str, Any]:
    """`meta.pagination`. `next_key`: sort key of the last row shown, None when there is nothing behind it."""
    pages = -(-total // at.limit)
    more = next_key is not None
    found = {
        "page": at.page,
        "per_page": at.limit,
        "total": total,
        "total_pages": pages,
        "has_next": more,
        "has_prev": at.after is not None or at.page > 1,
        "next_cursor": cursor(*next_key) if next_key is not None and shown else None,
    }
    return {**found, "total_capped": True} if capped else found


def _typed(value: Any, kind: type) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment
    if kind is UUID:
        return UUID(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (isinstance(value, str) and "\x00" in value):
        raise ValueError
    return value
