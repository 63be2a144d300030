"""What every request meets: errors, ids, guards, limits."""

import logging
import shutil

import pytest
from pydantic import BaseModel, Field
from quart import Blueprint

from app import create_app
from config import load
from controllers import body, envelope
from controllers.context import actor
from controllers.guards import Permission, public, requires
from services import errors
from services.access.audit import LOGGER

PROBLEM = {"Accept": "application/problem+json"}


class Parcel(BaseModel):
    weight_kg: int = Field(ge=1)
    address: str


def probe_routes() -> Blueprint:
    blueprint = Blueprint("probe", __name__)

    @blueprint.post("/t/parcels")
    @requires(Permission.EXECUTION_START)
    async def send():
        parcel = await body.read(Parcel)
        return envelope.ok(parcel, message="sent", status=201)

    @blueprint.get("/t/me")
    @requires(Permission.RUN_VIEW, public_read=True)
    async def me():
        return envelope.ok(actor().name)

    @blueprint.post("/t/definitions")
    @requires(Permission.WORKFLOW_VALIDATE)
    async def definitions():
        value, text = await body.document()
        return envelope.ok({"value": value, "text": text})

    @blueprint.get("/t/raise/<kind>")
    @public
    async def fail(kind):
        raise getattr(errors, kind)()

    @blueprint.get("/t/defect")
    @public
    async def defect():
        raise RuntimeError("the secret inside")

    return blueprint


@pytest.fixture
def database_engine():
    """What is tested here is the same on every database."""
    return "sqlite"


@pytest.fixture
async def app(built):
    built.register_blueprint(probe_routes())
    async with built.test_app():
        yield built


async def test_a_request_without_a_key_is_told_so(client):
    answer = await client.post("/t/parcels", json={})

    found = await answer.get_json()
    assert answer.status_code == 401
    assert found["detail"] == found["message"] == "Not authenticated"
    assert found["error_code"] == "UNAUTHORIZED"
    assert found["success"] is False


async def test_a_key_works_in_both_headers(client, alice):
    by_header = await client.get("/t/me", headers=alice)
    by_bearer = await client.get("/t/me", headers={"Authorization": f"Bearer {alice['X-API-Key']}"})

    assert (await by_header.get_json())["data"] == (await by_bearer.get_json())["data"] == "alice"


async def test_a_key_in_the_query_string_counts_for_nothing(client, alice):
    answer = await client.post(f"/t/parcels?api_key={alice['X-API-Key']}", json={})

    assert answer.status_code == 401


async def test_a_wrong_key_is_refused_even_where_the_public_may_read(client):
    answer = await client.get("/t/me", headers={"X-API-Key": "wrong"})

    assert answer.status_code == 401


async def test_a_local_caller_may_read_what_is_public(client):
    answer = await client.get("/t/me")

    assert (await answer.get_json())["data"] == "anonymous"


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For"])
async def test_a_caller_behind_a_proxy_is_not_local(client, header):
    answer = await client.get("/t/me", headers={header: "for=192.0.2.1"})

    assert answer.status_code == 401


async def test_a_limited_key_is_refused_with_the_missing_scope_and_recorded(client, key_for, here):
    reader = await key_for("reader", scopes=["read"])

    answer = await client.post("/t/parcels", json={}, headers=reader)

    assert answer.status_code == 403
    assert "executions:write" in (await answer.get_json())["message"]
    denied = await here.db(here.db.audit_log.result == "DENIED").select()
    assert [(row.category, row.action, row.actor_id) for row in denied] == [
        ("AUTHZ", "execution:start", reader.user_id)
    ]


async def test_every_problem_of_a_body_is_named_at_once(client, alice):
    answer = await client.post("/t/parcels", json={"weight_kg": 0}, headers=alice)

    found = await answer.get_json()
    assert answer.status_code == 400
    assert found["error_code"] == "VALIDATION_ERROR"
    assert [problem["loc"] for problem in found["details"]["errors"]] == [["weight_kg"], ["address"]]


async def test_a_valid_body_is_answered_in_the_envelope(client, alice):
    answer = await client.post("/t/parcels", json={"weight_kg": 3, "address": "Hull"}, headers=alice)

    assert answer.status_code == 201
    assert await answer.get_json() == {
        "success": True,
        "message": "sent",
        "data": {"weight_kg": 3, "address": "Hull"},
    }


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": "\\ud800"}', "lone_surrogate"),
        (b'{"a": "x\\u0000"}', "nul_character"),
        (b'{"a": 9007199254740993}', "integer_too_large"),
        (b'{"a": 123456789012345678901234567890}', "integer_too_large"),
        (b'{"a": 1e999}', "number_too_large"),
        (b'{"a": [1, 2', "json_invalid"),
        (b"\xff", "json_invalid"),
        (b"", "missing"),
    ],
)
async def test_json_that_readers_could_understand_differently_is_refused(client, alice, raw, kind):
    answer = await client.post("/t/parcels", data=raw, headers={**alice, "Content-Type": "application/json"})

    found = await answer.get_json()
    assert answer.status_code == 400
    assert found["details"]["errors"][0]["type"] == kind


async def test_the_place_of_a_bad_value_is_named(client, alice):
    raw = b'{"a": [{"b": 1}, {"b": 1, "b": 2}]}'

    answer = await client.post("/t/parcels", data=raw, headers={**alice, "Content-Type": "application/json"})

    assert (await answer.get_json())["details"]["errors"][0]["loc"] == ["body", "a", 1, "b"]


@pytest.mark.parametrize(("raw", "kind"), [(b"[" * 65 + b"]" * 65, "too_deep"), (b"[" * 900_000, "too_deep")])
async def test_deep_nesting_is_refused_before_it_is_read(client, alice, raw, kind):
    answer = await client.post("/t/parcels", data=raw, headers={**alice, "Content-Type": "application/json"})

    assert (await answer.get_json())["details"]["errors"][0]["type"] == kind


async def test_too_many_keys_are_refused(client, alice):
    answer = await client.post("/t/parcels", json={f"k{n}": n for n in range(2001)}, headers=alice)

    assert (await answer.get_json())["details"]["errors"][0]["type"] == "too_many_keys"


async def test_a_foreign_content_type_is_refused(client, alice):
    answer = await client.post("/t/parcels", data=b"a=1", headers={**alice, "Content-Type": "text/plain"})

    assert answer.status_code == 415
    found = await answer.get_json()
    assert (found["error_code"], found["message"]) == (
        "UNSUPPORTED_MEDIA_TYPE",
        "Send application/json, not text/plain",
    )


async def test_a_route_that_takes_yaml_says_so(client, alice):
    answer = await client.post("/api/v1/workflows", data=b"a", headers={**alice, "Content-Type": "text/plain"})

    assert answer.status_code == 415
    assert (await answer.get_json())["message"] == "Send application/json or application/yaml, not text/plain"


async def test_a_body_over_the_limit_is_refused(client, alice):
    raw = b'"' + b"x" * 1_048_576 + b'"'

    answer = await client.post("/t/parcels", data=raw, headers={**alice, "Content-Type": "application/json"})

    assert answer.status_code == 413
    assert (await answer.get_json())["error_code"] == "PAYLOAD_TOO_LARGE"


async def test_a_definition_may_be_yaml_and_keeps_its_text(client, alice):
    raw = b"on: {when: 2024-01-01}\nlist: [1, yes]\n"

    answer = await client.post("/t/definitions", data=raw, headers={**alice, "Content-Type": "application/yaml"})

    assert (await answer.get_json())["data"] == {
        "value": {"on": {"when": "2024-01-01"}, "list": [1, True]},
        "text": raw.decode(),
    }


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"a: 1\na: 2\n", "duplicate_key"),
        (b"a: [1,\n", "yaml_invalid"),
        (b"a: !!python/object/apply:os.system ['true']\n", "yaml_invalid"),
        (b"a: .nan\n", "not_json"),
        (b"a: 9007199254740993\n", "integer_too_large"),
        (b"? [1]\n: 2\n", "key_not_text"),
        (b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
         + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefgh"), "too_large"),
        (b"[" * 70 + b"]" * 70, "too_deep"),
    ],
)  # fmt: skip
async def test_dangerous_yaml_is_refused(client, alice, raw, kind):
    answer = await client.post("/t/definitions", data=raw, headers={**alice, "Content-Type": "application/yaml"})

    assert answer.status_code == 400
    assert (await answer.get_json())["details"]["errors"][0]["type"] == kind


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("Invalid", 400, "VALIDATION_ERROR"),
        ("ExecutionRefused", 400, "EXECUTION_ERROR"),
        ("Denied", 403, "PERMISSION_DENIED"),
        ("WorkflowNotFound", 404, "WORKFLOW_NOT_FOUND"),
        ("RunNotFound", 404, "RUN_NOT_FOUND"),
        ("DuplicateRef", 409, "DUPLICATE_REF"),
        ("WorkflowDisabled", 409, "WORKFLOW_DISABLED"),
        ("PreconditionFailed", 412, "PRECONDITION_FAILED"),
        ("TooLarge", 413, "PAYLOAD_TOO_LARGE"),
        ("UnsupportedMediaType", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("IdempotencyMismatch", 422, "IDEMPOTENCY_MISMATCH"),
        ("RateLimited", 429, "RATE_LIMITED"),
        ("FeatureNotInstalled", 501, "FEATURE_NOT_INSTALLED"),
        ("Unavailable", 503, "SERVICE_UNAVAILABLE"),
        ("ExecutionTimedOut", 504, "EXECUTION_TIMEOUT"),
    ],
)
async def test_each_error_has_its_status_and_code(client, kind, status, code):
    answer = await client.get(f"/t/raise/{kind}")

    assert answer.status_code == status
    assert (await answer.get_json())["error_code"] == code
    assert ("Retry-After" in answer.headers) == (status in (429, 503))


async def test_an_error_may_come_as_a_problem_document(client):
    answer = await client.get("/t/raise/WorkflowNotFound", headers=PROBLEM)

    found = await answer.get_json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (found["status"], found["title"], found["instance"]) == (
        404,
        "Not Found",
        "/t/raise/WorkflowNotFound",
    )
    assert found["error_code"] == "WORKFLOW_NOT_FOUND"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json, application/problem+json", "application/problem+json"),
        ("Application/Problem+JSON;q=0.4", "application/problem+json"),
        ("application/json, application/problem+json;q=0.5", "application/json"),
        ("application/problem+json;q=0", "application/json"),
        ("application/problem+jsonx", "application/json"),
        ("*/*", "application/json"),
    ],
)
async def test_a_problem_document_comes_to_who_asks_for_one(client, accept, kind):
    answer = await client.get("/t/raise/WorkflowNotFound", headers={"Accept": accept})

    assert answer.headers["Content-Type"] == kind


async def test_a_defect_tells_the_client_nothing_but_the_request_id(client, caplog):
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/t/defect", headers={"X-Request-ID": "r-1"})

    text = await answer.get_data(as_text=True)
    assert answer.status_code == 500
    assert "secret" not in text
    assert '"request_id":"r-1"' in text
    assert "the secret inside" in caplog.text


async def test_an_unknown_path_answers_in_the_envelope(client):
    answer = await client.get("/nowhere")

    assert answer.status_code == 404
    assert (await answer.get_json())["error_code"] == "NOT_FOUND"


async def test_a_wrong_method_names_the_right_ones(client):
    answer = await client.delete("/health")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("x" * 129, False), ("", False), ("café", False)])
async def test_a_request_id_is_echoed_when_it_is_printable(client, given, kept):
    answer = await client.get("/health", headers={"X-Request-ID": given.encode("latin-1").decode("latin-1")})

    assert (answer.headers["X-Request-ID"] == given) is kept


async def test_the_character_nul_is_refused_anywhere_in_the_address(client, alice):
    answer = await client.get("/t/me?search=%00", headers=alice)

    assert answer.status_code == 400


@pytest.mark.parametrize("environ", [{"RATE_LIMIT_PER_MINUTE": "2"}])
async def test_a_caller_over_the_rate_is_sent_away_with_a_time_to_come_back(client, alice):
    answers = [await client.get("/t/me", headers=alice) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Limit"] == "2"
    assert answers[0].headers["RateLimit-Remaining"] == "1"
    assert int(answers[2].headers["Retry-After"]) >= 1


@pytest.mark.parametrize("environ", [{"RATE_LIMIT_PER_MINUTE": "0"}])
@pytest.mark.parametrize(
    ("method", "path", "data", "kind", "status"),
    [
        ("GET", "/nowhere", b"", None, 404),
        ("GET", "/api/v1/nowhere", b"", None, 404),
        ("DELETE", "/health", b"", None, 405),
        ("POST", "/t/parcels", b"{}", "application/json", 400),
        ("POST", "/t/parcels", b"a=1", "text/plain", 415),
        ("POST", "/t/parcels", b'"' + b"x" * 1_048_576 + b'"', "application/json", 413),
        ("GET", "/t/defect", b"", None, 500),
        ("GET", "/t/raise/Unavailable", b"", None, 503),
    ],
)
async def test_every_refusal_comes_in_both_shapes(client, alice, method, path, data, kind, status):
    headers = {**alice, "X-Request-ID": "r-7", **({"Content-Type": kind} if kind else {})}

    plain = await client.open(path, method=method, data=data or None, headers=headers)
    problem = await client.open(path, method=method, data=data or None, headers={**headers, **PROBLEM})

    found, same = await problem.get_json(force=True), await plain.get_json()
    assert (plain.status_code, problem.status_code) == (status, status)
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "detail", "instance"} <= found.keys()
    assert (found["status"], found["instance"], found["request_id"]) == (status, path, "r-7")
    assert {key: found[key] for key in same} == same
    assert plain.headers["X-Request-ID"] == "r-7"


@pytest.mark.parametrize("environ", [{"RATE_LIMIT_PER_MINUTE": "2"}])
async def test_a_refusal_says_what_is_left_too(client, alice):
    answers = [await client.get("/t/me", headers={**alice, **PROBLEM}) for _ in range(3)]

    left = [(answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) for answer in answers]
    assert left == [("2", "1"), ("2", "0"), ("2", "0")]
    assert all(int(answer.headers["RateLimit-Reset"]) >= 1 for answer in answers)
    assert answers[2].headers["Content-Type"] == "application/problem+json"
    assert (await answers[2].get_json(force=True))["error_code"] == "RATE_LIMITED"


async def test_the_public_may_ask_sixty_times_a_minute_and_each_address_has_its_own_minute(client):
    async def ask(peer: str) -> int:
        return (await client.get("/t/me", scope_base={"client": (peer, 1)})).status_code

    answers = [await ask("127.0.0.1") for _ in range(61)]

    assert answers == [200] * 60 + [429]
    assert await ask("127.0.0.2") == 200


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "said"),
    [
        ("", "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.0/8", "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.0/8", "10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.2.3", "198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.2.3", "not-an-address", "10.1.2.3"),
    ],
)
async def test_the_log_names_the_client_that_trusted_proxies_name_and_no_spoofed_one(
    tmp_path, database_url, caplog, trusted, peer, forwarded, said
):
    shutil.copyfile("/" + database_url.partition(":////")[2], tmp_path / "millrace.db")
    app = create_app(
        load({"DATA_DIR": str(tmp_path), "PORT": "0", "TRUSTED_PROXIES": trusted}), announce=lambda _: None
    )
    async with app.test_app():
        with caplog.at_level(logging.INFO, LOGGER):
            await app.test_client().get(
                "/api/v1/me",
                headers={"X-API-Key": "stranger", "X-Forwarded-For": forwarded},
                scope_base={"client": (peer, 1)},
            )

    told = [record.entry.resource for record in caplog.records if hasattr(record, "entry")]
    assert told == [said]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "192.0.2.7"])
def test_public_reads_are_open_by_default_on_the_loopback_only(host):
    assert load({"HOST": host}).public_reads == ("local" if host in ("127.0.0.1", "::1") else "off")
