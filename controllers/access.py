"""Keys, users, roles and the audit record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints
from quart import Blueprint, Response, request

from controllers import access_views as views
from controllers import body, envelope, idempotency, pages
from controllers.accepts import asks_for
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.shapes import BaseModel, Community, Time, one_of
from models.access import RoleRow
from models.audit import AuditFilter
from services.access.accounts import Account
from services.access.key_service import KeyWish
from services.access.permissions import Scope
from services.access.record import AuditRecord
from services.errors import Denied
from services.idempotency import Also

blueprint = Blueprint("access", __name__, url_prefix="/api/v1")
ID = "id"
NDJSON = "application/x-ndjson"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Strict(BaseModel):
    """A body in which an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid")


class CreateKey(Strict):
    """What a new key shall be; no scopes = everything its user may do."""

    name: Name
    user_id: int | None = Field(
        None, ge=1, le=2**53, description="Whose key it is; only an administrator may name another"
    )
    scopes: list[Annotated[Scope, one_of(Scope)]] = Field(default_factory=list, max_length=len(Scope))
    community_id: Community | None = None
    expires_at: Time | None = None


class RotateKey(Strict):
    """How long the old key stays valid beside the new one."""

    overlap_seconds: int = Field(3600, ge=0, le=7 * 24 * 3600)


class KeysQuery(pages.PageQuery):
    """Whose keys."""

    user_id: int | None = Field(
        None, ge=1, le=2**53, description="Keys of this user; administrators only, unless it is you"
    )
    everyone: bool = Field(False, description="Keys of all users; administrators only")


class UsersQuery(pages.PageQuery):
    """Which users."""

    name: str | None = Field(None, max_length=100, description="The one of exactly this name")


class CreateUser(Strict):
    """A new user."""

    name: Name
    email: str | None = Field(None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    is_admin: bool = False


class UpdateUser(Strict):
    """What shall change; the rest stays."""

    name: Name | None = None
    email: str | None = Field(None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    is_admin: bool | None = None
    is_active: bool | None = None


class AuditQuery(pages.PageQuery):
    """Which entries; everything given must hold."""

    actor: int | None = Field(None, ge=0, le=2**53)
    action: str | None = Field(None, max_length=100)
    category: str | None = Field(None, pattern="^(AUTH|AUTHZ|AUDIT|ERROR|SYSTEM)$")
    result: str | None = Field(None, pattern="^(SUCCESS|ALLOWED|DENIED|FAILURE)$")
    workflow_id: UUID | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


# ---- keys ----------------------------------------------------------------------------------------------------------


@blueprint.post("/api-keys")
@requires(Permission.KEY_WRITE)
@describe(
    Operation(
        tag="access",
        body=CreateKey,
        answers={201: views.ShownKeyView},
        errors=(404, 409, 422),
        headers=("Idempotency-Key",),
    )
)
async def create_api_key() -> Response:
    """Make an API key; its text is in this answer and nowhere else."""
    wish = KeyWish(**(await body.read(CreateKey)).model_dump())

    async def make(also: Also) -> Response:
        made = await services().keys.create(wish, by=actor(), also=also)
        return _key_answer(made.row, made.text)

    async def again(key_id: str) -> Response:
        return _key_answer(await services().keys.get(UUID(key_id), by=actor()), None)

    return await idempotency.once(make, again)


def _key_answer(row: Any, text: str | None, **more: Any) -> Response:
    message = "Keep the key: it is not shown again" if text else "This key was made before; its text is not shown again"
    shown = {**views.shown_key(row, text), **more}
    return envelope.ok(shown, message=message, status=201, headers={"Location": f"/api/v1/api-keys/{row.id}"})


@blueprint.get("/api-keys")
@requires(Permission.KEY_VIEW)
@describe(Operation(tag="access", query=KeysQuery, answers={200: list[views.KeyView]}))
async def list_api_keys() -> Response:
    """List API keys, newest first, without their texts."""
    query = body.query(KeysQuery)
    at = pages.window(query, UUID)
    before = at.after[0] if at.after else None
    found, total = await services().keys.list(_whose_keys(query), limit=at.limit + 1, offset=at.offset, before=before)
    rows = found[: at.limit]
    more = (rows[-1].id,) if len(found) > at.limit else None
    meta = pages.pagination(at, total=total, shown=rows, next_key=more)
    return envelope.ok([views.key(row) for row in rows], meta={"pagination": meta})


def _whose_keys(query: KeysQuery) -> int | None:
    caller = actor()
    foreign = query.everyone or query.user_id not in (None, caller.user_id)
    if foreign and not caller.runs_the_server:
        raise Denied("Only an administrator may list the keys of others")
    if query.everyone:
        return None
    return query.user_id or caller.user_id


@blueprint.get("/api-keys/<uuid:key_id>")
@requires(Permission.KEY_VIEW)
@describe(Operation(tag="access", answers={200: views.KeyView}, errors=(404,)))
async def get_api_key(key_id: UUID) -> Response:
    """Show an API key, without its text."""
    return envelope.ok(views.key(await services().keys.get(key_id, by=actor())))


@blueprint.delete("/api-keys/<uuid:key_id>")
@requires(Permission.KEY_WRITE)
@describe(Operation(tag="access", answers={200: views.RevokedView}, errors=(404,)))
async def revoke_api_key(key_id: UUID) -> Response:
    """End an API key; every process refuses it within two seconds."""
    at = await services().keys.revoke(key_id, by=actor())
    return envelope.ok({"id": key_id, "revoked_at": at}, message="API key revoked")


@blueprint.post("/api-keys/<uuid:key_id>/rotate")
@requires(Permission.KEY_WRITE)
@describe(
    Operation(
        tag="access",
        body=RotateKey,
        body_optional=True,
        answers={201: views.RotatedKeyView},
        errors=(404, 409, 422),
        headers=("Idempotency-Key",),
    )
)
async def rotate_api_key(key_id: UUID) -> Response:
    """Replace an API key by one that reaches as far; the old one stays valid for a while."""
    overlap = timedelta(seconds=(await body.read(RotateKey, optional=True)).overlap_seconds)
    keys = services().keys

    async def make(also: Also) -> Response:
        made, until = await keys.rotate(key_id, overlap=overlap, by=actor(), also=also)
        return _key_answer(made.row, made.text, old_key_id=key_id, old_key_valid_until=until)

    async def again(new_id: str) -> Response:
        new, old = await keys.get(UUID(new_id), by=actor()), await keys.get(key_id, by=actor())
        return _key_answer(new, None, old_key_id=key_id, old_key_valid_until=old.revoked_at)

    return await idempotency.once(make, again)


# ---- people --------------------------------------------------------------------------------------------------------


@blueprint.get("/me")
@requires(Permission.SELF_VIEW)
@describe(Operation(tag="access", answers={200: views.MeView}))
async def me() -> Response:
    """Say who is calling, through which key, and what it may do."""
    caller, here = actor(), services()
    account = await here.accounts.get(caller.user_id)
    row = await here.keys.get(caller.key_id, by=caller) if caller.key_id else None
    return envelope.ok({**views.account(account), "is_admin": caller.is_admin, "key": views.key(row) if row else None})


@blueprint.get("/users")
@requires(Permission.USER_ADMIN)
@describe(Operation(tag="access", query=UsersQuery, answers={200: list[views.UserView]}))
async def list_users() -> Response:
    """List users by id, with their roles."""
    query = body.query(UsersQuery)
    at = pages.window(query, int)
    after = at.after[0] if at.after else 0
    found, total = await services().accounts.list(after=after, limit=at.limit + 1, offset=at.offset, name=query.name)
    shown = found[: at.limit]
    more = (shown[-1].user.id,) if len(found) > at.limit else None
    meta = pages.pagination(at, total=total, shown=shown, next_key=more)
    return envelope.ok([views.account(account) for account in shown], meta={"pagination": meta})


@blueprint.post("/users")
@requires(Permission.USER_ADMIN)
@describe(
    Operation(
        tag="access", body=CreateUser, answers={201: views.UserView}, errors=(409, 422), headers=("Idempotency-Key",)
    )
)
async def create_user() -> Response:
    """Add a user; they need a key of their own to call anything."""
    data = await body.read(CreateUser)

    async def make(also: Also) -> Response:
        return _created(await services().accounts.create(data.model_dump(), by=actor(), also=also))

    async def again(user_id: str) -> Response:
        return _created(await services().accounts.get(int(user_id)))

    return await idempotency.once(make, again)


def _created(user: Account) -> Response:
    place = {"Location": f"/api/v1/users/{user.user.id}"}
    return envelope.ok(views.account(user), message="User created", status=201, headers=place)


@blueprint.get(f"/users/<{ID}:user_id>")
@requires(Permission.USER_ADMIN)
@describe(Operation(tag="access", answers={200: views.UserView}, errors=(404,)))
async def get_user(user_id: int) -> Response:
    """Show a user with their roles."""
    return envelope.ok(views.account(await services().accounts.get(user_id)))


@blueprint.put(f"/users/<{ID}:user_id>")
@requires(Permission.USER_ADMIN)
@describe(Operation(tag="access", body=UpdateUser, answers={200: views.UserView}, errors=(404, 409)))
async def update_user(user_id: int) -> Response:
    """Change a user; one who is not active is refused everywhere."""
    data = await body.read(UpdateUser)
    values = {
        name: value
        for name, value in data.model_dump(exclude_unset=True).items()
        if value is not None or name == "email"
    }
    return envelope.ok(
        views.account(await services().accounts.update(user_id, values, by=actor())), message="User updated"
    )


@blueprint.put(f"/users/<{ID}:user_id>/roles/<{ID}:community_id>/<role>")
@requires(Permission.USER_ADMIN)
@describe(Operation(tag="access", answers={200: views.UserView}, errors=(400, 404)))
async def give_role(user_id: int, community_id: int, role: str) -> Response:
    """Give a user a role in a community."""
    named = body.validate(RoleName, {"role": role}, place="path").role
    account = await services().accounts.give_role(
        RoleRow(user_id=user_id, community_id=community_id, role=named), by=actor()
    )
    return envelope.ok(views.account(account), message="Role given")


@blueprint.delete(f"/users/<{ID}:user_id>/roles/<{ID}:community_id>/<role>")
@requires(Permission.USER_ADMIN)
@describe(Operation(tag="access", answers={200: views.UserView}, errors=(404,)))
async def take_role(user_id: int, community_id: int, role: str) -> Response:
    """Take a role away."""
    account = await services().accounts.take_role(
        RoleRow(user_id=user_id, community_id=community_id, role=role), by=actor()
    )
    return envelope.ok(views.account(account), message="Role taken away")


class RoleName(Strict):
    """The name of a role."""

    role: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")


# ---- the record ----------------------------------------------------------------------------------------------------


@blueprint.get("/audit")
@requires(Permission.AUDIT_VIEW)
@describe(Operation(tag="access", query=AuditQuery, answers={200: list[views.AuditView]}))
async def list_audit() -> Response:
    """List the audit record, newest first; with `Accept: application/x-ndjson` every match, oldest first, one a line."""
    query = body.query(AuditQuery)
    wanted = AuditFilter(
        actor_id=query.actor,
        action=query.action,
        category=query.category,
        result=query.result,
        workflow_id=query.workflow_id,
        since=query.since,
        until=query.until,
    )
    if asks_for(NDJSON, request.headers.get("Accept", "")):
        answer = Response(_audit_lines(services().record, wanted), content_type=NDJSON)
        answer.timeout = None
        return answer
    at = pages.window(query, *pages.TIME_AND_ID)
    found = await services().record.page(wanted, at.after, limit=at.limit, offset=at.offset)
    meta = pages.pagination(at, total=found.total, shown=found.rows, next_key=found.next_key, capped=found.capped)
    return envelope.ok([views.audit(row) for row in found.rows], meta={"pagination": meta})


async def _audit_lines(record: AuditRecord, wanted: AuditFilter) -> AsyncIterator[bytes]:
    async for rows in record.all(wanted):
        yield b"".join(envelope.dumps(views.audit(row)) + b"\n" for row in rows)


@blueprint.get("/audit/verify")
@requires(Permission.AUDIT_VIEW)
@describe(Operation(tag="access", answers={200: views.ChainView}))
async def verify_audit() -> Response:
    """Follow the chain over the audit record and say where it breaks, if it does."""
    report = await services().sealer.verify()
    return envelope.ok(views.chain(report))
