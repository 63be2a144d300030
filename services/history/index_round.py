"""What follows the end of a run: its text goes to the keyword index, its duration into the day's percentiles.

Everything of one round is one transaction together with the removal of its tasks, so it happens exactly once; a run
that is indexed again takes its old duration out of the percentiles first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from models.index_writer import DayKey, Document, Indexed
from models.outbox import Task
from services.conversation import Conversation
from services.history import histogram
from services.history.record import text_of

EMBED = "embed"
"""The outbox's work for a run whose text shall be embedded."""


def index_round(tasks: Sequence[Task], *, now: datetime, embed: bool) -> Conversation[list[UUID]]:
    """Index the tasks' runs; which of them have changed and say something. `embed` asks for their embedding."""
    runs: list[Indexed] = yield "load", [task.subject for task in tasks]
    documents = {run.id: _document(run) for run in runs}
    changed = [run for run in runs if (run.text, run.counted) != (documents[run.id].text, documents[run.id].counted)]
    if changed:
        yield "write", [documents[run.id] for run in changed]
        yield from _percentiles(changed, documents)
    told = [run.id for run in changed if documents[run.id].text]
    if embed and told:
        yield "enqueue", EMBED, told, now
    yield "settle", list(tasks)
    return told


def _document(run: Indexed) -> Document:
    counted = None
    if run.duration_ms is not None:
        counted = "/".join((run.created_at.date().isoformat(), run.status, histogram.bucket(run.duration_ms)))
    return Document(run=run.id, text=text_of(run.outputs, run.error), counted=counted)


def _percentiles(runs: Sequence[Indexed], documents: dict[UUID, Document]) -> Conversation[None]:
    deltas: dict[DayKey, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for run in runs:
        after = documents[run.id].counted
        if run.counted == after:
            continue
        for place, sign in ((run.counted, -1), (after, 1)):
            if place is not None:
                day, status, bucket = place.split("/")
                deltas[run.wpk_id, run.community, day, status][bucket] += sign
    if deltas:
        known = yield "days", list(deltas)
        yield "write_days", {key: histogram.merged(known.get(key), delta) for key, delta in deltas.items()}
