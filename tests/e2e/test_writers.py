"""Many writers on the same refs over HTTP; thirty seconds of it: `python -m tests.e2e.writers --seconds 30`."""

import pytest

from tests.e2e.writers import Plan, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_writers_of_the_same_refs_break_no_rule(tmp_path, database_engine, database_url):
    plan = Plan(engine=database_engine, seconds=60.0, answers=400)

    tally, broken = run(plan, tmp_path, database_url if database_engine == "postgres" else None)

    assert broken == []
    happened = {"create 201", "create 409", "update 200", "update 412", "delete 200"}
    assert happened <= tally.answers.keys()
