"""The base of every request and answer shape.

Validators are built on first use: most answer shapes are only ever read by the OpenAPI document, and building all of
them would be a quarter of the time it takes to start.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field
from pydantic import BaseModel as PydanticModel

from services.formats import times

DEFERRED = ConfigDict(defer_build=True)


def from_text(read: Callable[[str], Any], wanted: str) -> BeforeValidator:
    """What JSON has no type for, and is written as text: bodies are read strictly, and would want the thing itself."""

    def reads(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return read(value)
        except ValueError:
            raise ValueError(wanted) from None

    return BeforeValidator(reads)


def one_of(words: type[StrEnum]) -> BeforeValidator:
    """A word of an enumeration, in a body."""
    return from_text(words, f"must be one of {', '.join(words)}")


Time = Annotated[AwareDatetime, from_text(times.read, times.WANTED)]
Uuid = Annotated[UUID, from_text(UUID, "must be a UUID")]
Community = Annotated[int, Field(ge=1, le=2**53)]


class BaseModel(PydanticModel):
    """A pydantic model that costs nothing until it is used."""

    model_config = DEFERRED


class CommunityQuery(BaseModel):
    """In which community the caller asks."""

    community_id: int | None = Field(
        None, ge=0, le=2**53, description="Context of the role check; one that is not the workflow's is a 404"
    )
