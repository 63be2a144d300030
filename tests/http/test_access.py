"""Keys, users, roles and the audit record, over HTTP on both databases."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.access.authentication import utc_now

KEYS = "/api/v1/api-keys"


async def data_of(answer, status=200):
    found = await answer.get_json()
    assert answer.status_code == status, found
    return found["data"]


async def works(client, key) -> bool:
    return (await client.get("/api/v1/me", headers={"X-API-Key": key})).status_code == 200


async def test_a_user_who_is_not_active_gets_no_key(client, admin, alice):
    [old] = (await (await client.get("/api/v1/api-keys", headers=alice)).get_json())["data"]
    await client.put(f"/api/v1/users/{alice.user_id}", json={"is_active": False}, headers=admin)

    made = await client.post("/api/v1/api-keys", json={"name": "k", "user_id": alice.user_id}, headers=admin)
    rotated = await client.post(f"/api/v1/api-keys/{old['id']}/rotate", headers=admin)

    assert (made.status_code, rotated.status_code) == (409, 409)
    assert "is not active" in (await made.get_json())["message"]


async def test_a_key_is_shown_once(client, alice):
    made = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)

    listed = await (await client.get(KEYS, headers=alice)).get_data(as_text=True)
    assert made["key"].startswith(made["prefix"])
    assert len(made["key"]) >= 43
    assert made["key"] not in listed
    assert made["prefix"] in listed


async def test_a_new_key_works_and_a_revoked_one_does_not(client, alice):
    made = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)
    before = await works(client, made["key"])

    await data_of(await client.delete(f"{KEYS}/{made['id']}", headers=alice))

    assert before
    assert not await works(client, made["key"])


async def test_a_key_that_another_process_revokes_is_refused_when_the_memory_is_stale(client, here, alice):
    made = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)
    assert await works(client, made["key"])
    await here.db(here.db.api_key.prefix == made["prefix"]).update(revoked_at=utc_now())
    remembered = here.authentication._cache
    for key_hash, (read_at, *rest) in remembered.items():
        remembered[key_hash] = (read_at - 2.0, *rest)

    assert not await works(client, made["key"])


async def test_an_expired_key_is_refused(client, here, key_for):
    soon = utc_now() + timedelta(hours=1)
    caller = await key_for("carol", expires_at=soon)
    before = await works(client, caller["X-API-Key"])

    here.authentication.now = lambda: soon + timedelta(seconds=1)

    assert before
    assert not await works(client, caller["X-API-Key"])


async def test_a_rotated_key_stays_valid_for_its_overlap(client, here, alice):
    old = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)
    new = await data_of(
        await client.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_seconds": 600}, headers=alice), 201
    )

    during = await works(client, old["key"]), await works(client, new["key"])
    later = utc_now() + timedelta(seconds=601)
    here.authentication.now = lambda: later

    assert during == (True, True)
    assert (await works(client, old["key"]), await works(client, new["key"])) == (False, True)


async def test_a_key_is_rotated_once(client, alice):
    old = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)
    await data_of(await client.post(f"{KEYS}/{old['id']}/rotate", headers=alice), 201)

    again = await client.post(f"{KEYS}/{old['id']}/rotate", headers=alice)

    assert again.status_code == 409


async def test_keys_of_others_do_not_exist_for_you(client, alice, bob):
    made = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)

    answers = [
        await client.get(f"{KEYS}/{made['id']}", headers=bob),
        await client.delete(f"{KEYS}/{made['id']}", headers=bob),
        await client.post(f"{KEYS}/{made['id']}/rotate", headers=bob),
        await client.get(f"{KEYS}/{uuid4()}", headers=bob),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4


@pytest.mark.parametrize(
    "limit", [{"community_id": 7}, {"scopes": ["admin"]}, {"expires_at": utc_now() + timedelta(hours=1)}]
)
async def test_a_key_does_not_rotate_one_that_reaches_further(client, key_for, limit):
    whole = await key_for("dora", roles={(7, "viewer")})
    wide = await data_of(await client.post(KEYS, json={"name": "wide"}, headers=whole), 201)
    given = limit | ({"expires_at": limit["expires_at"].isoformat()} if "expires_at" in limit else {})
    narrow = await data_of(await client.post(KEYS, json={"name": "narrow", **given}, headers=whole), 201)

    refused = await client.post(f"{KEYS}/{wide['id']}/rotate", headers={"X-API-Key": narrow["key"]})
    own = await client.post(f"{KEYS}/{narrow['id']}/rotate", headers={"X-API-Key": narrow["key"]})

    assert (refused.status_code, own.status_code) == (403, 201)
    assert await works(client, wide["key"])


async def test_a_key_never_reaches_further_than_the_one_that_made_it(client, key_for):
    limited = await key_for("dora", roles={(7, "viewer")}, scopes=["read", "admin"], community_id=7)

    wider = await client.post(KEYS, json={"name": "x", "community_id": 7}, headers=limited)
    elsewhere = await client.post(KEYS, json={"name": "x", "scopes": ["read"], "community_id": 8}, headers=limited)
    as_far = await client.post(KEYS, json={"name": "x", "scopes": ["read"], "community_id": 7}, headers=limited)

    assert [answer.status_code for answer in (wider, elsewhere, as_far)] == [403, 403, 201]


async def test_a_key_cannot_make_one_that_outlives_it(client, key_for):
    end = utc_now() + timedelta(hours=1)
    mortal = await key_for("emil", expires_at=end)

    answers = [
        await client.post(KEYS, json={"name": "x"}, headers=mortal),
        await client.post(KEYS, json={"name": "x", "expires_at": end.isoformat()}, headers=mortal),
    ]

    assert [answer.status_code for answer in answers] == [403, 201]


async def test_only_an_administrator_makes_keys_for_others(client, admin, alice, bob):
    wish = {"name": "x", "user_id": bob.user_id}

    by_alice = await client.post(KEYS, json=wish, headers=alice)
    by_admin = await client.post(KEYS, json=wish, headers=admin)

    assert by_alice.status_code == 403
    assert (await data_of(by_admin, 201))["user_id"] == bob.user_id


async def test_the_same_request_makes_one_key_and_shows_it_once(client, alice):
    headers = {**alice, "Idempotency-Key": "k-1"}
    first = await client.post(KEYS, json={"name": "ci"}, headers=headers)

    second = await client.post(KEYS, json={"name": "ci"}, headers=headers)

    one, two = await data_of(first, 201), await data_of(second, 201)
    assert two["id"] == one["id"]
    assert two["key"] is None
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_an_idempotency_key_is_for_one_request_only(client, alice):
    headers = {**alice, "Idempotency-Key": "k-1"}
    await client.post(KEYS, json={"name": "ci"}, headers=headers)

    other = await client.post(KEYS, json={"name": "cd"}, headers=headers)

    assert other.status_code == 422
    assert (await other.get_json())["error_code"] == "IDEMPOTENCY_MISMATCH"


async def test_me_says_who_is_calling(client, key_for):
    caller = await key_for("fred", roles={(3, "editor")}, scopes=["read"])

    me = await data_of(await client.get("/api/v1/me", headers=caller))

    assert me["name"] == "fred"
    assert me["roles"] == [{"community_id": 3, "role": "editor"}]
    assert me["key"]["scopes"] == ["read"]


async def test_a_key_limited_to_scopes_without_admin_is_no_administrators_key(client, key_for):
    caller = await key_for("gina", is_admin=True, scopes=["read"])

    answer = await client.get("/api/v1/users", headers=caller)

    assert answer.status_code == 403


async def test_ordinary_users_administer_nobody(client, alice):
    paths = ["/api/v1/users", "/api/v1/audit", "/api/v1/audit/verify"]

    answers = [await client.get(path, headers=alice) for path in paths]

    assert [answer.status_code for answer in answers] == [403, 403, 403]


async def test_an_administrator_adds_changes_and_stops_users(client, admin, key_for):
    made = await data_of(await client.post("/api/v1/users", json={"name": "hans"}, headers=admin), 201)
    hans = await key_for("hans")
    path = f"/api/v1/users/{made['id']}"

    renamed = await data_of(await client.put(path, json={"name": "johann"}, headers=admin))
    await data_of(await client.put(path, json={"is_active": False}, headers=admin))

    assert renamed["name"] == "johann"
    assert not await works(client, hans["X-API-Key"])


async def test_two_users_never_share_a_name(client, admin):
    await client.post("/api/v1/users", json={"name": "ida"}, headers=admin)

    again = await client.post("/api/v1/users", json={"name": "ida"}, headers=admin)

    assert again.status_code == 409


async def test_the_last_administrator_stays(client, admin, here):
    everybody = await data_of(await client.get("/api/v1/users", headers=admin))
    others = [user for user in everybody if user["is_admin"] and user["id"] != admin.user_id]
    for user in others:
        await client.put(f"/api/v1/users/{user['id']}", json={"is_admin": False}, headers=admin)

    answer = await client.put(f"/api/v1/users/{admin.user_id}", json={"is_active": False}, headers=admin)

    assert answer.status_code == 409
    assert await works(client, admin["X-API-Key"])


async def test_roles_are_given_and_taken(client, admin, alice):
    path = f"/api/v1/users/{alice.user_id}/roles/5/operator"

    given = await data_of(await client.put(path, headers=admin))
    again = await data_of(await client.put(path, headers=admin))
    taken = await data_of(await client.delete(path, headers=admin))
    twice = await client.delete(path, headers=admin)

    assert given["roles"] == again["roles"] == [{"community_id": 5, "role": "operator"}]
    assert taken["roles"] == []
    assert twice.status_code == 404


async def test_unknown_fields_are_named(client, admin):
    answer = await client.post("/api/v1/users", json={"name": "x", "admin": True}, headers=admin)

    assert answer.status_code == 400
    assert (await answer.get_json())["details"]["errors"][0]["loc"] == ["admin"]


async def test_ids_beyond_the_database_are_not_found(client, admin):
    answer = await client.get(f"/api/v1/users/{2**63}", headers=admin)

    assert answer.status_code == 404


async def test_lists_continue_by_cursor(client, admin, key_for):
    for name in "abcde":
        await key_for(name)
    names, cursor = [], ""

    for _ in range(20):
        answer = await client.get(f"/api/v1/users?per_page=2{cursor}", headers=admin)
        found = await answer.get_json()
        names += [user["name"] for user in found["data"]]
        page = found["meta"]["pagination"]
        if not page["has_next"]:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert len(names) == len(set(names)) == page["total"]
    assert set("abcde") <= set(names)


async def test_a_foreign_cursor_is_refused(client, admin):
    answers = [
        await client.get(f"/api/v1/users?cursor={cursor}", headers=admin)
        for cursor in ("x", "WyJhIl0", "WzEsMl0", "%00")
    ]

    assert [answer.status_code for answer in answers] == [400] * 4


async def test_a_page_too_deep_names_the_cursor(client, admin):
    answer = await client.get("/api/v1/users?page=102&per_page=100", headers=admin)

    assert answer.status_code == 400
    assert "cursor" in (await answer.get_json())["message"]


async def test_what_was_done_is_in_the_record_and_nowhere_a_secret(client, admin, alice):
    made = await data_of(await client.post(KEYS, json={"name": "ci"}, headers=alice), 201)

    answer = await client.get(f"/api/v1/audit?actor={alice.user_id}&category=AUDIT", headers=admin)

    entries = await data_of(answer)
    assert entries[0]["action"] == "create_api_key"
    assert entries[0]["resource"] == f"api_key:{made['id']}"
    assert entries[0]["request_id"]
    assert made["key"] not in await answer.get_data(as_text=True)


async def test_the_record_is_filtered_and_counted(client, admin, alice):
    before = datetime.now(UTC)
    for _ in range(3):
        await client.get("/api/v1/users", headers=alice)

    answer = await client.get(
        "/api/v1/audit",
        query_string={"result": "DENIED", "since": before.isoformat(), "per_page": 2},
        headers=admin,
    )

    found = await answer.get_json()
    assert len(found["data"]) == 2
    assert found["meta"]["pagination"]["total"] == 3
    assert found["meta"]["pagination"]["has_next"]


async def test_the_whole_record_comes_as_a_stream_oldest_first(client, admin, alice):
    for name in ("ida", "ada"):
        await client.post("/api/v1/users", json={"name": name}, headers=admin)
    path, lines = "/api/v1/audit?action=create_user", {**admin, "Accept": "application/x-ndjson"}

    answer = await client.get(path, headers=lines)
    refused = await client.get(path, headers={**alice, "Accept": "application/x-ndjson"})

    entries = [json.loads(line) for line in (await answer.get_data()).splitlines()]
    assert answer.content_type == "application/x-ndjson"
    assert [entry["details"]["name"] for entry in entries if entry["actor_id"] == admin.user_id] == ["ida", "ada"]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert refused.status_code == 403


async def test_a_user_is_found_by_name(client, admin, alice):
    found = await data_of(await client.get("/api/v1/users?name=alice", headers=admin))
    nobody = await data_of(await client.get("/api/v1/users?name=Alice", headers=admin))

    assert [user["id"] for user in found] == [alice.user_id]
    assert nobody == []


async def test_the_chain_holds_until_a_row_is_changed(client, here, admin, alice):
    await client.get("/api/v1/users", headers=alice)
    await here.sealer.seal(settle=timedelta(0))
    intact = await data_of(await client.get("/api/v1/audit/verify", headers=admin))
    victim = await here.db(here.db.audit_log.result == "DENIED").select().first()

    await here.db(here.db.audit_log.id == victim.id).update(reason="nothing happened")

    broken = await data_of(await client.get("/api/v1/audit/verify", headers=admin))
    assert intact["intact"]
    assert intact["sealed"] >= 1
    assert not broken["intact"]
    assert broken["broken_id"] == str(victim.id)


async def test_a_removed_row_breaks_the_chain(client, here, admin, alice):
    for _ in range(3):
        await client.get("/api/v1/users", headers=alice)
    await here.sealer.seal(settle=timedelta(0))

    await here.db(here.db.audit_log.chain_no == 2).delete()

    broken = await data_of(await client.get("/api/v1/audit/verify", headers=admin))
    assert not broken["intact"]
    assert "missing" in broken["reason"]


async def test_the_use_of_a_key_is_noted(client, here, alice):
    await client.get("/api/v1/me", headers=alice)

    row = await here.db(here.db.api_key.user_id == alice.user_id).select().first()
    assert row.last_used_at is not None


@pytest.mark.parametrize("path", ["/api/v1/api-keys/not-a-uuid", "/api/v1/users/zero", "/api/v1/users/0"])
async def test_malformed_ids_are_not_found(client, admin, path):
    answer = await client.get(path, headers=admin)

    assert answer.status_code == 404


async def test_a_change_without_fields_changes_nothing(client, admin, alice):
    answer = await client.put(f"/api/v1/users/{alice.user_id}", json={"name": None}, headers=admin)

    assert (await data_of(answer))["name"] == "alice"


@pytest.mark.parametrize("community", ["0", "-1", "x", "9" * 20])
async def test_a_community_that_cannot_be_is_not_found_whatever_the_method(client, admin, alice, community):
    answer = await client.delete(f"/api/v1/users/{alice.user_id}/roles/{community}/editor", headers=admin)

    assert answer.status_code == 404
