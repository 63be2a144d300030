"""The base of every request and answer shape.

Validators are built on first use: most answer shapes are only ever read by the OpenAPI document, and building all of
them would be a quarter of the time it takes to start.
"""

from __future__ import annotations

from pydantic import BaseModel as PydanticModel
from pydantic import ConfigDict

DEFERRED = ConfigDict(defer_build=True)


class BaseModel(PydanticModel):
    """A pydantic model that costs nothing until it is used."""

    model_config = DEFERRED
