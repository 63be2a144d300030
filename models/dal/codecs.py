"""How each declared Field type is bound and read on each database: one table, two columns."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Codecs:
    """What one database needs done to values on their way in and out."""

    numbered: bool  # $1 $2 … that may repeat, else plain ?
    encoders: Mapping[str, Encode]
    decoders: Mapping[str, Decode]
    casts: Mapping[str, str]
    encode_list: Encode | None
    encode_any: Encode | None  # for hand-written SQL, where no Field says the type

    def cast(self, field_type: Any, many: bool = False) -> str:
        """The cast that follows a placeholder, or nothing."""
        name = self.casts.get(_base(field_type), "")
        return f"::{name}{'[]' if many else ''}" if name else ""

    def encoder(self, edits: tuple[Encode, ...], field_type: Any, many: bool = False) -> Encode | None:
        """One function from the caller's value to the driver's, or None when there is nothing to do."""
        own = self.encoders.get(_base(field_type)) if field_type else self.encode_any
        if many:
            return _compose(_each(_compose(*edits, own)), self.encode_list)
        return _compose(*edits, own)

    def decoder(self, field_type: Any) -> Decode | None:
        """From the driver's value to the caller's, or None when they are the same."""
        return self.decoders.get(_base(field_type))


def _base(field_type: Any) -> str:
    return field_type.partition("(")[0] if isinstance(field_type, str) else ""


def _compose(*functions: Encode | None) -> Encode | None:
    steps = [function for function in functions if function]
    if len(steps) < 2:
        return steps[0] if steps else None

    def composed(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return composed


def _each(encode: Encode | None) -> Encode:
    def encode_all(values: Iterable[Any]) -> list[Any]:
        if isinstance(values, str | bytes):
            raise TypeError("belongs() takes a list, not a string")
        return [encode(value) for value in values] if encode else list(values)

    return encode_all


def dump_json(value: Any) -> str:
    """Canonical JSON text: sorted keys, so that equal values are equal texts."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _uuid_text(value: Any) -> str:
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("naive datetime: timestamps carry their zone")
    return value


def timestamp_text(value: datetime) -> str:
    """A moment as SQLite keeps it: UTC, six digits, `Z`; sorts as it reads."""
    return _aware(value).astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _strings(value: Any) -> list[str]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise TypeError("a list of strings is expected")
    return list(value)


def _strings_text(value: Any) -> str:
    return dump_json(_strings(value))


def _plain(value: Any) -> Any:
    """A value for hand-written SQLite SQL, by what it is."""
    encode = _PLAIN.get(type(value))
    if encode:
        return encode(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def _plain_list(values: Any) -> str:
    return dump_json([item if type(item) in (dict, list, bool) else _plain(item) for item in values])


_PLAIN: dict[type, Encode] = {
    bool: int,
    uuid.UUID: str,
    datetime: timestamp_text,
    date: date.isoformat,
    list: _plain_list,
    tuple: _plain_list,
    set: _plain_list,
    dict: dump_json,
    Decimal: str,
}

POSTGRES = Codecs(
    numbered=True,
    # asyncpg speaks PostgreSQL's own types; json is set on the connection
    encoders={"uuid": _uuid, "timestamptz": _aware, "list:string": _strings},
    decoders={},
    casts={
        "string": "text",
        "text": "text",
        "integer": "bigint",
        "bigint": "bigint",
        "id": "bigint",
        "double": "float8",
        "boolean": "boolean",
        "json": "jsonb",
        "uuid": "uuid",
        "timestamptz": "timestamptz",
        "date": "date",
        "blob": "bytea",
        "decimal": "numeric",
        "list:string": "text[]",
        "list:integer": "bigint[]",
    },
    encode_list=None,
    encode_any=None,
)

SQLITE = Codecs(
    numbered=False,
    encoders={
        "boolean": int,
        "json": dump_json,
        "uuid": _uuid_text,
        "timestamptz": timestamp_text,
        "date": date.isoformat,
        "decimal": str,
        "list:string": _strings_text,
        "list:integer": dump_json,
    },
    decoders={
        "boolean": bool,
        "json": orjson.loads,
        "uuid": uuid.UUID,
        "timestamptz": datetime.fromisoformat,
        "date": date.fromisoformat,
        "decimal": Decimal,
        "list:string": orjson.loads,
        "list:integer": orjson.loads,
    },
    casts={},
    encode_list=dump_json,
    encode_any=_plain,
)
