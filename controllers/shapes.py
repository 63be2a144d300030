"""The base of every request and answer shape.

Validators are built on first use: most answer shapes are only ever read by the OpenAPI document, and building all of
them would be a quarter of the time it takes to start.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel as PydanticModel
from pydantic import ConfigDict, Field

DEFERRED = ConfigDict(defer_build=True)
Community = Annotated[int, Field(ge=1, le=2**53)]


class BaseModel(PydanticModel):
    """A pydantic model that costs nothing until it is used."""

    model_config = DEFERRED


class CommunityQuery(BaseModel):
    """In which community the caller asks."""

    community_id: int | None = Field(
        None, ge=0, le=2**53, description="Context of the role check; one that is not the workflow's is a 404"
    )
