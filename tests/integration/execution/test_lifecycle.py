from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from models.dal import AsyncDAL
from tests.support.execution import World, world

CHAIN = {
    "version": 1.0,
    "input": ["x"],
    "tasks": {
        "a": {
            "action": "test.write",
            "input": {"n": "{{ ctx().x }}"},
            "next": [{"when": "{{ succeeded() }}", "publish": [{"y": "{{ result().n + 1 }}"}], "do": "b"}],
        },
        "b": {
            "action": "test.write",
            "input": {"n": "{{ ctx().y }}"},
            "next": [{"publish": [{"z": "{{ result().n + 1 }}"}], "do": "c"}],
        },
        "c": {"action": "core.noop"},
    },
    "output": [{"z": "{{ ctx().z }}"}],
}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


async def test_a_chain_runs_to_its_output(here: World) -> None:
    await here.register(CHAIN)

    row = await here.run(x=1)

    assert (row.status, row.final_output, row.nodes_executed) == ("completed", {"z": 3}, 3)
    assert [call.input["n"] for call in here.calls] == [1, 2]
