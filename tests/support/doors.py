"""Every door of the server, who may pass it, and a world in which everything behind the doors is there.

One line a route. The verdicts stand in the order of `PEOPLE`: `.` let in, `1` 401, `3` 403, `4` 404.
"""

import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta

from controllers.guards import permission_of
from models import signals
from models.records import uuid7
from services.access.authentication import utc_now
from services.access.keys import digest as digest_of

PEOPLE = (
    *("nobody", "stranger", "expired", "revoked", "unscoped", "foreigner"),
    *("viewer", "executor", "editor", "owner", "admin"),
)
STATUS = {"1": 401, "3": 403, "4": 404}
HOME, ABROAD = 1, 2

ALL = "..........."  # no key is asked for
SELF = "1111......."  # any key, whatever its scopes
KEY = "11113......"  # any key with the scope
PUBLIC = ".1113......"  # and, where public reads are on, no key
VIEW = "111134....."  # can_view on the workflow
RUNS = "411134....."  # the same, where the public reads what belongs to no community
EXECUTE = "1111343.3.."
EDIT = "11113433..."
OWN = "111134333.."  # the owner's alone, seen by those who may view
MINE = "111134444.."  # the owner's alone, unknown to others
PACK = "111133333.."  # the owner's alone, seen by everybody with a key
ADMIN = "1111333333."
RESPOND = "1111343.33."  # can_execute, but not who started it
LIMITED = "111133....."  # not with a key that is limited to another community


@dataclass(frozen=True)
class Door:
    """Who is let in, with which request. `also`: statuses that mean let in, beside 2xx and 3xx.

    `$n` in path and body is another number each time; `before`: what the owner does first, on the same path.
    """

    who: str
    body: object = None
    query: str = ""
    also: frozenset[int] = frozenset()
    headers: dict[str, str] = field(default_factory=dict)
    before: str | None = None
    things: dict[str, str] = field(default_factory=dict)  # for variables of the path that mean something else here


ENDED = NO_DATA = frozenset({400})
FLOW = {"tasks": [{"name": "ask", "action": "core.inquiry", "input": {"prompt": "Go on?"}}]}
NEW_WORKFLOW = {"ref": "default.w$n", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}
RUN = {"wpk_id": "flow-1", "run_id": "r$n", "status": "completed"}
STALE = {"If-Match": '"stale"'}
FRESH_KEY = {"key_id": "fresh_key"}
GRANTEE = {"subject_type": "role", "subject_id": "guest$n"}
OTHER_EXECUTION = {"execution_id": "other_execution"}
DOORS = {
    "GET /": Door(ALL),
    "GET /docs": Door(ALL),
    "GET /docs/assets/<name>": Door(ALL),
    "GET /health": Door(ALL),
    "GET /metrics": Door(ALL),
    "GET /openapi.json": Door(ALL),
    "GET /ready": Door(ALL),
    # access
    "GET /api/v1/me": Door(SELF),
    "GET /api/v1/api-keys": Door(KEY),
    "POST /api/v1/api-keys": Door(LIMITED, {"name": "k"}),
    "GET /api/v1/api-keys/<uuid:key_id>": Door(MINE),
    "DELETE /api/v1/api-keys/<uuid:key_id>": Door(MINE, things=FRESH_KEY),
    "POST /api/v1/api-keys/<uuid:key_id>/rotate": Door(MINE, {}, things=FRESH_KEY),
    "GET /api/v1/users": Door(ADMIN),
    "POST /api/v1/users": Door(ADMIN, {"name": "new$n"}),
    "GET /api/v1/users/<id:user_id>": Door(ADMIN),
    "PUT /api/v1/users/<id:user_id>": Door(ADMIN, {"email": "a@b.c"}),
    "PUT /api/v1/users/<id:user_id>/roles/<id:community_id>/<role>": Door(ADMIN),
    "DELETE /api/v1/users/<id:user_id>/roles/<id:community_id>/<role>": Door(ADMIN),
    "GET /api/v1/audit": Door(ADMIN),
    "GET /api/v1/audit/verify": Door(ADMIN),
    # registry
    "GET /api/v1/workflows": Door(KEY),
    "POST /api/v1/workflows": Door(KEY, NEW_WORKFLOW),
    "POST /api/v1/workflows/validate": Door(KEY, FLOW),
    "GET /api/v1/workflows/<identifier>": Door(VIEW),
    "PUT /api/v1/workflows/<identifier>": Door(EDIT, {"description": "d$n"}),
    "DELETE /api/v1/workflows/<identifier>": Door(OWN, headers=STALE, also=frozenset({412})),
    "GET /api/v1/workflows/<identifier>/versions": Door(VIEW),
    "GET /api/v1/workflows/<identifier>/graph": Door(VIEW),
    "POST /api/v1/workflows/<identifier>/validate": Door(VIEW),
    "GET /api/v1/workflows/<identifier>/permissions": Door(OWN),
    "PUT /api/v1/workflows/<identifier>/permissions/<subject_type>/<subject_id>": Door(OWN, {}, things=GRANTEE),
    "DELETE /api/v1/workflows/<identifier>/permissions/<subject_type>/<subject_id>": Door(
        OWN, before="PUT", things=GRANTEE
    ),
    "GET /api/v1/packs": Door(KEY),
    "POST /api/v1/packs": Door(KEY, {"ref": "pack$n", "label": "p", "version": "1"}),
    "POST /api/v1/packs/sync": Door(ADMIN),
    "GET /api/v1/packs/<ref>": Door(KEY),
    "PUT /api/v1/packs/<ref>": Door(PACK, {"label": "p$n"}),
    "DELETE /api/v1/packs/<ref>": Door(PACK, also=frozenset({409})),
    "GET /api/v1/packs/<ref>/workflows": Door(KEY),
    "POST /api/v1/packs/<ref>/workflows/sync": Door(PACK),
    "POST /api/v1/packs/<ref>/workflows/validate": Door(PACK),
    "GET /api/v1/packs/<ref>/permissions": Door(PACK),
    "PUT /api/v1/packs/<ref>/permissions/<subject_type>/<subject_id>": Door(PACK, {}, things=GRANTEE),
    "DELETE /api/v1/packs/<ref>/permissions/<subject_type>/<subject_id>": Door(PACK, before="PUT", things=GRANTEE),
    "GET /api/v1/actions": Door(KEY),
    "GET /api/v1/actions/<ref>": Door(KEY, things={"ref": "core.noop"}),
    # executions
    "POST /api/v1/workflows/<workflow_id>/execute": Door(EXECUTE, {}),
    "POST /api/v1/workflows/<workflow_id>/test": Door(EXECUTE, {}),
    "GET /api/v1/workflows/<workflow_id>/executions": Door(VIEW),
    "GET /api/v1/workflows/executions/<execution_id>": Door(VIEW),
    "GET /api/v1/workflows/executions/<execution_id>/explain": Door(VIEW),
    "GET /api/v1/workflows/executions/<execution_id>/events": Door(VIEW),
    "POST /api/v1/workflows/executions/<execution_id>/pause": Door(EXECUTE, also=ENDED, things=OTHER_EXECUTION),
    "POST /api/v1/workflows/executions/<execution_id>/resume": Door(EXECUTE, also=ENDED, things=OTHER_EXECUTION),
    "POST /api/v1/workflows/executions/<execution_id>/cancel": Door(EXECUTE, also=ENDED, things=OTHER_EXECUTION),
    "POST /api/v1/workflows/executions/<execution_id>/rerun": Door(EXECUTE, {}, also=ENDED, things=OTHER_EXECUTION),
    "GET /api/v1/inquiries": Door(KEY),
    "GET /api/v1/inquiries/<uuid:inquiry_id>": Door(VIEW),
    "POST /api/v1/inquiries/<uuid:inquiry_id>/respond": Door(RESPOND, {"response": {}}, also=frozenset({409})),
    "POST /api/v1/workflows/executions/<execution_id>/fail": Door(ADMIN, also=ENDED, things=OTHER_EXECUTION),
    "GET /api/v1/executions": Door(ADMIN),
    "POST /api/v1/executions/cancel": Door(ADMIN, {"filter": {"status": "failed"}}),
    "GET /api/v1/workers": Door(ADMIN),
    "GET /api/v1/operator": Door(ADMIN),
    "POST /api/v1/operator/pause": Door(ADMIN, {"reason": "maintenance"}),
    "POST /api/v1/operator/resume": Door(ADMIN),
    # runs
    "POST /langgraph/hooks/log_run": Door(EXECUTE, RUN),
    "POST /api/v1/runs": Door(EXECUTE, RUN),
    "POST /workflows/<workflow_id>/runs/notify": Door(EXECUTE, RUN),
    "POST /api/v1/workflows/<workflow_id>/runs/notify": Door(EXECUTE, RUN),
    "GET /workflows/<workflow_id>/runs": Door(RUNS),
    "GET /api/v1/workflows/<workflow_id>/runs": Door(RUNS),
    "GET /api/v1/workflows/<workflow_id>/stats": Door(VIEW),
    "GET /api/v1/runs": Door(KEY),
    "GET /api/v1/runs/search": Door(KEY, query="?q=x"),
    "GET /api/v1/runs/<run_id>": Door(VIEW),
    "GET /api/v1/runs/<run_id>/similar": Door(VIEW),
    "PUT /api/v1/runs/<run_id>/pin": Door(EXECUTE),
    "DELETE /api/v1/runs/<run_id>/pin": Door(EXECUTE),
    "GET /api/v1/retention": Door(ADMIN),
    "POST /api/v1/retention/run": Door(ADMIN, {}),
    "GET /api/v1/outbox": Door(ADMIN),
    "POST /api/v1/outbox/retry": Door(ADMIN),
    # insight
    "POST /probe": Door(PUBLIC, {"query": "local:workflow_runs_total"}, also=NO_DATA),
    "POST /api/v1/probe": Door(PUBLIC, {"query": "local:workflow_runs_total"}, also=NO_DATA),
    "GET /signals": Door(PUBLIC),
    "GET /api/v1/signals": Door(PUBLIC),
    "GET /api/v1/signals/<uuid:signal_id>": Door(VIEW),
    "POST /api/v1/signals/<uuid:signal_id>/feedback": Door(VIEW, {"verdict": "useful"}),
    "GET /api/v1/watches": Door(KEY),
    "POST /api/v1/watches": Door(KEY, {"query": "local:cpu_usage"}),
    "GET /api/v1/watches/<uuid:watch_id>": Door(MINE),
    "DELETE /api/v1/watches/<uuid:watch_id>": Door(MINE, things={"watch_id": "fresh_watch"}),
    "GET /api/v1/workflows/<workflow_id>/insights": Door(VIEW),
}


def doors_of(app) -> dict[str, object]:
    """What there is: method and rule → view."""
    return {
        f"{method} {rule.rule}": app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


class World:
    """People, a workflow of the owner's and what hangs on it."""

    def __init__(self, client, here, key_for) -> None:
        self.client, self.here, self.key_for = client, here, key_for
        self.people: dict[str, dict[str, str]] = {}
        self.unscoped: dict[str, dict[str, str]] = {}
        self.ids: dict[str, int] = {}
        self.things: dict[str, str] = {}
        self.number = itertools.count(1)

    async def ask(self, method, path, body=None, **headers):
        """The `data` of what the owner asks for."""
        given = {} if body is None else {"json": body}
        answer = await self.client.open(path, method=method, headers={**self.people["owner"], **headers}, **given)
        assert answer.status_code < 300, (method, path, await answer.get_data(as_text=True))
        return (await answer.get_json())["data"]

    async def fill(self) -> None:
        """Make everything."""
        await self._invite()
        await self.ask("POST", "/api/v1/packs", {"ref": "guarded", "label": "g", "version": "1"})
        flow = {**NEW_WORKFLOW, "ref": "guarded.flow", "pack_ref": "guarded", "community_id": HOME}
        workflow = (await self.ask("POST", "/api/v1/workflows", flow))["id"]
        for name, flags in (("viewer", ()), ("executor", ("can_execute",)), ("editor", ("can_edit",))):
            given = dict.fromkeys(("can_view", *flags), True)
            await self.ask("PUT", f"/api/v1/workflows/{workflow}/permissions/user/{self.ids[name]}", given)
        self.things = {
            **dict.fromkeys(("identifier", "workflow_id"), workflow),
            **{"ref": "guarded", "name": "swagger-ui.css", "community_id": "7"},
            "user_id": str(self.ids["viewer"]),
            "execution_id": await self._execution(workflow),
            "other_execution": await self._execution(workflow),
            "key_id": await self.fresh("fresh_key"),
            "watch_id": await self.fresh("fresh_watch"),
            "run_id": (await self.ask("POST", "/api/v1/runs", {**RUN, "run_id": "first"}))["id"],
            "signal_id": await self._signal(workflow),
        }
        self.things["inquiry_id"] = await self._inquiry()

    async def fresh(self, what: str) -> str:
        """A thing that goes away by being asked for."""
        wish = {"name": "k"} if what == "fresh_key" else {"query": "local:cpu_usage"}
        path = "/api/v1/api-keys" if what == "fresh_key" else "/api/v1/watches"
        return (await self.ask("POST", path, wish))["id"]

    async def _invite(self) -> None:
        for name in ("viewer", "executor", "editor", "owner"):
            self.people[name] = await self.key_for(name, roles={(HOME, "member")})
        self.people["admin"] = await self.key_for("root", is_admin=True)
        self.people["foreigner"] = await self.key_for("foreigner", roles={(ABROAD, "member")}, community_id=ABROAD)
        self.people |= {"nobody": {}, "stranger": {"X-API-Key": "mlr_stranger"}}
        self.ids = {name: headers.user_id for name, headers in self.people.items() if hasattr(headers, "user_id")}
        for scope in ("read", "signals:write"):
            self.unscoped[scope] = await self.key_for("owner", scopes=[scope])
        await self._end_keys()

    async def _end_keys(self) -> None:
        keys = self.here.db.api_key
        for name, ended in (("expired", "expires_at"), ("revoked", "revoked_at")):
            self.people[name] = await self.key_for("owner")
            digest = digest_of(self.people[name]["X-API-Key"], pepper=None)
            await self.here.db(keys.hash == digest).update(**{ended: utc_now() - timedelta(hours=1)})
        self.ids |= dict.fromkeys(("expired", "revoked", "unscoped"), self.ids["owner"])

    async def _execution(self, workflow: str) -> str:
        return (await self.ask("POST", f"/api/v1/workflows/{workflow}/execute", {}))["execution_id"]

    async def _inquiry(self) -> str:
        for _ in range(2000):
            for row in await self.ask("GET", "/api/v1/inquiries"):
                if row["execution_id"] == self.things["execution_id"]:
                    return row["id"]
        raise AssertionError("no inquiry was opened")

    async def _signal(self, workflow: str) -> str:
        facts = {"metric": "m", "value": 1, "score": 3, "hint": None, "created_at": utc_now()}
        row = signals.SignalRow(id=uuid7(), workflow_id=workflow, community_id=HOME, **facts)
        await signals.insert(self.here.db, row)
        return str(row.id)

    async def headers_of(self, person: str, view) -> dict[str, str]:
        """The key of a person; the unscoped one's fits every door but this."""
        if person != "unscoped":
            return self.people[person]
        permission = permission_of(view)
        return self.unscoped["read" if permission.scope == "signals:write" else "signals:write"]

    async def path_of(self, rule: str, door: Door, number: int) -> str:
        """The rule with things for its variables."""
        parts = []
        for part in rule.split("/"):
            name = part.strip("<>").rpartition(":")[2]
            if part.startswith("<"):
                wanted = door.things.get(name, name)
                part = await self.fresh(wanted) if wanted.startswith("fresh") else self.things.get(wanted, wanted)
            parts.append(part.replace("$n", str(number)))
        return "/".join(parts)

    async def knock(self, name: str, door: Door, person: str, view) -> str:
        """Ask once; what is wrong with the answer, "" when nothing is."""
        method, _, rule = name.partition(" ")
        number = next(self.number)
        path = await self.path_of(rule, door, number)
        if door.before:
            await self.ask(door.before, path, {})
        body = {} if door.body is None else {"json": json.loads(json.dumps(door.body).replace("$n", str(number)))}
        headers = {**door.headers, **await self.headers_of(person, view), "X-Request-ID": f"{person}: {name}"}
        answer = await self.client.open(path + door.query, method=method, headers=headers, **body)
        verdict = door.who[PEOPLE.index(person)]
        status = answer.status_code
        let_in = status < 400 or status in door.also
        if let_in if verdict == "." else status == STATUS[verdict]:
            return ""
        return f"{person}: {name} is {status}, not {verdict}: {await answer.get_data(as_text=True)}"

    async def send(self, name: str, body: bytes, person: str) -> tuple[int, dict]:
        """Ask with a body that may be anything; the status, and the answer as JSON."""
        method, _, rule = name.partition(" ")
        path = await self.path_of(rule, Door(DOORS[name].who, things=GRANTEE), next(self.number))
        headers = {**self.people[person], "Content-Type": "application/json"}
        answer = await self.client.open(path + DOORS[name].query, method=method, data=body, headers=headers)
        return answer.status_code, await answer.get_json()
