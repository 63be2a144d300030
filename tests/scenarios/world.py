"""Runs one scenario: drives `decide` and `evolve` with mocked results, and stands in for everything outside.

Nothing here knows a single scenario, and the engine does not know this. After every decision the events take the way
through their stored JSON form into a second state, which has to equal the live one; after every settling the whole
log is folded anew as well.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.engine import commands as do
from services.engine import inputs as tell
from services.engine.decide import decide
from services.engine.events import Event, TimerSet
from services.engine.evolve import evolve
from services.engine.fold import fold
from services.engine.graph import ActionFacts, Failure, Graph, Kind, Limits
from services.engine.rerun import Refused, plan
from services.engine.state import State
from services.engine.stored import read_row, write_row
from services.engine.statuses import Outcome, Phase
from tests.scenarios.mocks import Mocks
from tests.scenarios.orders import Pick
from tests.scenarios.scenario import Scenario, Step

LIMITS = Limits(max_parallel_nodes=10_000)
START = datetime(2026, 1, 1, tzinfo=UTC)
OUTCOMES = {
    "succeeded": Outcome.COMPLETED,
    "failed": Outcome.FAILED,
    "timeout": Outcome.TIMED_OUT,
    "abandoned": Outcome.FAILED,
    "canceled": Outcome.CANCELLED,
}


class HarnessError(Exception):
    """The script asks for something that cannot be done at this point, or the engine broke its own rules."""
