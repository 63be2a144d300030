"""The page on states: prose around diagrams that are drawn from the engine's own tables."""

from services.engine.statuses import EXECUTION_TRANSITIONS, NODE_STATUS, PUBLIC, WORK_TRANSITIONS, diagram

PAGE = """# States of an execution and of its tasks

<!-- generated from services/engine/statuses.py by `make docs`; do not edit -->

The engine moves executions and pieces of work along two tables.
A change that its table does not know is an error in the engine and raises `IllegalTransition`, naming both sides.
The diagrams below are drawn from the same tables that the engine runs on.

## An execution

```mermaid
{execution}
```

Two phases are the engine's own: while `cancelling` and `failing`, work that has begun comes to its end, clean-up and
compensations run, and nothing else starts.
A request to pause or cancel shows in the API from the moment it is durable; a failure shows when the execution has ended.

| phase in the engine | status in the API |
|---|---|
{phases}

An execution that waits for a person, a timer or a child stays `running`; `waiting_for` says for what.
`completed`, `failed` and `cancelled` are final.
A re-run is a new execution that takes results over, it never changes the old one.

## A piece of work

One piece of work is an attempt of a task, or of one item of a task with a list.
It is made when the task starts and gone when the task (or the item) has ended.

```mermaid
{work}
```

## A task

A task that has ended has an outcome; conditions in `next` ask for it, the API shows it as a status.

| outcome | status in the API |
|---|---|
{outcomes}
"""


def states_page() -> str:
    """The page, as Markdown."""
    return PAGE.format(
        execution=diagram(EXECUTION_TRANSITIONS),
        work=diagram(WORK_TRANSITIONS),
        phases="\n".join(f"| `{phase}` | `{status}` |" for phase, status in PUBLIC.items()),
        outcomes="\n".join(f"| `{outcome}` | `{status}` |" for outcome, status in NODE_STATUS.items()),
    )
