"""Probes, signals, feedback and watches over HTTP, on data that is really there."""

import json
from datetime import timedelta

import pytest

from models import signals as model
from models.records import uuid7
from services.access.authentication import utc_now
from services.history.record import Run
from services.history.runs import RunLog

WORKFLOW = "nightly-etl-1.0.0"
NOON = utc_now().replace(microsecond=0) - timedelta(hours=2)


@pytest.fixture
async def runs(here, monkeypatch):
    """Ninety minutes of healthy runs, two a minute, then a burst in the last whole minute."""
    log = RunLog(here.db, utc_now)
    end = utc_now().replace(second=0, microsecond=0)
    monkeypatch.setattr("controllers.signals.utc_now", lambda: end + timedelta(seconds=5))
    batch = []
    for minute in range(90):
        for n in range(40 if minute == 89 else 2 + minute % 2):
            at = end - timedelta(minutes=90 - minute) + timedelta(seconds=n)
            batch.append(
                Run(wpk_id=WORKFLOW, run_id=f"{minute}-{n}", status="completed", duration_ms=900 + n, created_at=at)
            )
    await log.log(batch, source="langgraph")


async def probe(client, headers, path="/probe", **body):
    return await client.post(path, json={"lookback_minutes": 85, **body}, headers=headers)


async def signals(client, headers, query=""):
    return await (await client.get(f"/signals{query}", headers=headers)).get_json()


async def test_a_probe_of_the_run_history_finds_a_burst_and_stores_it(client, alice, runs):
    answer = await probe(client, alice, query=f'local:workflow_runs_total{{workflow="{WORKFLOW}"}}')

    found = await answer.get_json()
    assert answer.status_code == 200, found
    assert found["anomaly"] is True
    assert found["score"] >= 2
    assert (found["metric"], found["value"], found["source"]) == ("workflow_runs_total", 40.0, "local")
    assert found["signals"][0]["signal_id"] == found["signal_id"]
    stored = await signals(client, alice)
    assert stored["total"] == 1
    assert stored["signals"][0]["hint"] == found["hint"]


async def test_the_signals_a_probe_stores_are_in_the_record_and_a_quiet_probe_is_not(client, here, alice, runs):
    await probe(client, alice, query="workflow_runs_total", threshold=1000)
    loud = await (await probe(client, alice, query="workflow_runs_total")).get_json()

    rows = await here.db(here.db.audit_log.action == "store_signal").select()
    assert [(row.actor_id, row.resource) for row in rows] == [(alice.user_id, f"signal:{loud['signal_id']}")]


@pytest.mark.parametrize("method", ["zscore", "ewma"])
async def test_the_textbook_methods_find_it_too(client, alice, runs, method):
    found = await (await probe(client, alice, query="workflow_runs_total", method=method, threshold=3)).get_json()

    assert found["anomaly"] is True
    assert "standard deviations above" in found["hint"]


async def test_the_twin_below_api_v1_answers_in_the_envelope(client, alice, runs):
    found = await (await probe(client, alice, "/api/v1/probe", query="workflow_runs_total", threshold=1000)).get_json()

    assert found["success"] is True
    assert found["data"]["anomaly"] is False
    assert found["data"]["signal_id"] == ""


async def test_the_documented_query_is_answered_from_this_host(client, alice):
    answer = await client.post("/probe", json={"query": "cpu_usage", "threshold": 2.0}, headers=alice)

    found = await answer.get_json()
    assert answer.status_code == 200
    assert (found["metric"], found["anomaly"], found["score"]) == ("cpu_usage", False, 0)
    assert "50 are needed" in found["hint"]


async def test_another_metric_without_prometheus_is_refused_with_the_names_there_are(client, alice):
    answer = await probe(client, alice, query="rate(up[5m])")

    found = await answer.get_json()
    assert answer.status_code == 400
    assert found["detail"].startswith(
        "No data for 'rate(up[5m])': PROM_URL is not set; local metrics are workflow_runs_total"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": "workflow_runs_total", "method": "magic"}, "auto, zscore, ewma"),
        ({"query": "workflow_runs_total", "lookback_minutes": 500_000, "step_seconds": 1}, "11,000"),
        ({"query": 'workflow_runs_total{workflow="nobody"}'}, "No data"),
        ({"query": "workflow_runs_total{workflow=}"}, "PROM_URL"),
        ({"query": 'workflow_runs_total{pod="x"}'}, "label workflow only"),
        ({"query": "local:unheard_of"}, "local metrics are"),
    ],
)
async def test_a_bad_question_is_a_400_in_words(client, alice, body, words):
    answer = await probe(client, alice, **body)

    assert answer.status_code == 400
    assert words in (await answer.get_json())["detail"]


async def test_the_runs_of_a_community_are_not_probed_by_strangers(client, here, alice, key_for):
    log = RunLog(here.db, utc_now)
    now = utc_now()
    batch = [
        Run(wpk_id="secret", run_id=str(n), status="completed", created_at=now - timedelta(minutes=n))
        for n in range(1, 60)
    ]
    await log.log(batch, source="langgraph", community_id=7)
    member = await key_for("carol", roles={(7, "viewer")})

    stranger = await probe(client, alice, query="workflow_runs_total")
    inside = await probe(client, member, query="workflow_runs_total")

    assert stranger.status_code == 400
    assert inside.status_code == 200


async def test_a_signal_shows_its_window_and_the_runs_within(client, alice, runs):
    found = await (await probe(client, alice, query="workflow_runs_total")).get_json()

    answer = await client.get(f"/api/v1/signals/{found['signal_id']}", headers=alice)

    detail = (await answer.get_json())["data"]
    assert detail["window"][-1]["value"] == 40.0
    assert len(detail["runs"]) == 50
    assert detail["bar"] == 0.0


async def test_noise_raises_the_bar_of_a_series_and_useful_restores_it(client, alice, runs):
    found = await (await probe(client, alice, query="workflow_runs_total")).get_json()
    signal = f"/api/v1/signals/{found['signal_id']}"
    threshold = found["score"] - 0.2

    await client.post(f"{signal}/feedback", json={"verdict": "noise", "note": "a test"}, headers=alice)
    raised = await (await probe(client, alice, query="workflow_runs_total", threshold=threshold)).get_json()
    await client.post(f"{signal}/feedback", json={"verdict": "useful"}, headers=alice)
    restored = await (await probe(client, alice, query="workflow_runs_total", threshold=threshold)).get_json()

    assert raised["anomaly"] is False
    assert restored["anomaly"] is True


async def test_signals_are_filtered_and_continued_by_cursor(client, here, alice):
    for n in range(5):
        row = model.SignalRow(
            id=uuid7(),
            metric="m" if n % 2 else "k",
            value=n,
            score=float(n),
            hint=None,
            created_at=NOON + timedelta(minutes=n),
        )
        await model.insert(here.db, row)

    first = await signals(client, alice, "?limit=3")
    rest = await signals(client, alice, f"?limit=3&cursor={first['next_cursor']}")
    strong = await signals(
        client, alice, f"?metric=k&min_score=1&since={(NOON + timedelta(minutes=1)).isoformat().replace('+00:00', 'Z')}"
    )

    assert [row["value"] for row in first["signals"] + rest["signals"]] == [4, 3, 2, 1, 0]
    assert (first["total"], rest["next_cursor"]) == (5, None)
    assert [row["value"] for row in strong["signals"]] == [4, 2]


async def test_without_a_key_only_signals_of_no_community_are_read(client, here):
    for community in (None, 3):
        row = model.SignalRow(
            id=uuid7(), metric="m", value=1, score=2, hint=None, created_at=utc_now(), community_id=community
        )
        await model.insert(here.db, row)

    assert (await signals(client, {}))["total"] == 1


async def test_a_signal_nobody_has_is_not_found(client, alice):
    path = "/api/v1/signals/01890000-0000-7000-8000-000000000000"

    read = await client.get(path, headers=alice)
    judged = await client.post(f"{path}/feedback", json={"verdict": "noise"}, headers=alice)

    assert (read.status_code, judged.status_code) == (404, 404)


# ---- watches -----------------------------------------------------------------------------------------------------------


async def watch(client, headers, **body):
    answer = await client.post("/api/v1/watches", json=body, headers=headers)
    return answer, (await answer.get_json()).get("data")


async def test_a_watch_is_made_listed_and_removed_by_its_owner_only(client, alice, bob):
    answer, made = await watch(client, alice, query="workflow_runs_total", every_seconds=3600)
    path = f"/api/v1/watches/{made['id']}"

    listed = (await (await client.get("/api/v1/watches", headers=alice)).get_json())["data"]
    strangers = (await (await client.get("/api/v1/watches", headers=bob)).get_json())["data"]
    refused = await client.delete(path, headers=bob)
    removed = await client.delete(path, headers=alice)

    assert (answer.status_code, answer.headers["Location"]) == (201, path)
    assert [row["id"] for row in listed] == [made["id"]]
    assert strangers == []
    assert (refused.status_code, removed.status_code) == (404, 200)


async def test_the_same_watch_twice_with_one_key_is_one_watch(client, alice):
    headers = {**alice, "Idempotency-Key": "one"}

    _, first = await watch(client, headers, query="workflow_runs_total")
    again, second = await watch(client, headers, query="workflow_runs_total")

    assert again.headers["Idempotency-Replayed"] == "true"
    assert first["id"] == second["id"]


async def test_every_signal_is_exported_one_a_line(client, here, alice):
    for n in range(3):
        row = model.SignalRow(
            id=uuid7(), metric="m", value=n, score=2, hint=None, created_at=NOON + timedelta(minutes=n)
        )
        await model.insert(here.db, row)

    answer = await client.get("/api/v1/signals", headers={**alice, "Accept": "application/x-ndjson"})

    lines = (await answer.get_data()).splitlines()
    assert answer.content_type == "application/x-ndjson"
    assert [json.loads(line)["value"] for line in lines] == [2, 1, 0]
