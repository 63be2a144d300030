"""The permission service on both databases: the names users know, cached at most two seconds, denials recorded."""

from uuid import uuid4

import pytest

from models.records import Flag, uuid7
from services.access.actor import Actor
from services.access.audit import AuditLog
from services.access.authentication import utc_now
from services.access.permission_service import PermissionService
from services.errors import Denied, Invalid, WorkflowNotFound


@pytest.fixture
def service(db):
    return PermissionService(db, audit=AuditLog(db, now=utc_now))


async def user(db, name, *, roles=(), **more):
    row = await db.app_user.insert(returning=[db.app_user.id], name=name, created=utc_now(), **more).first()
    for community, role in roles:
        await db.user_role.insert(user_id=row.id, community_id=community, role=role, created=utc_now())
    return row.id


async def workflow(db, owner, *, community=None):
    now, key = utc_now(), uuid7()
    values = {"id": key, "ref": f"p.w{key.hex}", "package_id": key.hex, "pack_ref": "p", "name": "w", "label": "w"}
    times = {"registered_at": now, "created": now, "updated": now}
    more = {name: uuid7() for name in ("version_id",) if name in db.workflow.fields}
    more |= {name: 1 for name in ("change_no",) if name in db.workflow.fields}
    await db.workflow.insert(
        **values,
        **times,
        **more,
        version="1",
        revision=1,
        tags=[],
        source="api",
        search="w",
        owner_id=owner,
        community_id=community,
    )
    return key


async def grant(db, workflow_id, kind, subject, *flags):
    await db.workflow_permission.insert(
        workflow_id=workflow_id,
        subject_type=kind,
        subject_id=str(subject),
        created=utc_now(),
        **dict.fromkeys(flags, True),
    )


async def check(service, workflow_id, user_id, permission="can_execute", **more):
    return await service.check_permission(workflow_id=workflow_id, user_id=user_id, permission_type=permission, **more)


async def test_the_verdict_is_truthy_and_says_why(db, service):
    owner, stranger = await user(db, "owner"), await user(db, "stranger")
    thing = await workflow(db, owner)

    allowed, denied = await check(service, thing, owner), await check(service, str(thing), stranger)

    assert (bool(allowed), allowed.reason) == (True, "owner")
    assert (bool(denied), denied.visible) == (False, False)


async def test_every_relation_counts(db, service):
    owner = await user(db, "owner")
    thing = await workflow(db, owner, community=5)
    named = await user(db, "named")
    editor = await user(db, "editor", roles=[(5, "editor")])
    member = await user(db, "member", roles=[(5, "viewer")])
    await grant(db, thing, "user", named, "can_execute")
    await grant(db, thing, "role", "editor", "can_execute")
    await grant(db, thing, "community", 5, "can_execute")
    boss = await user(db, "boss", is_admin=True)

    reasons = [(await check(service, thing, who)).reason for who in (owner, named, editor, member, boss)]

    assert reasons == ["owner", "grant to the user", "grant to a role", "grant to the community", "admin"]


async def test_an_unknown_or_stopped_user_may_nothing(db, service):
    owner = await user(db, "owner", is_active=False, is_admin=True)
    thing = await workflow(db, await user(db, "other"))

    assert not await check(service, thing, owner)
    assert not await check(service, thing, 999_999)


async def test_an_unknown_workflow_is_invisible(service):
    verdict = await check(service, uuid4(), 1)

    assert not verdict
    assert not verdict.visible


async def test_an_unknown_permission_is_named(service):
    with pytest.raises(Invalid, match="can_fly"):
        await check(service, uuid4(), 1, permission="can_fly")


async def test_a_foreign_community_is_refused(db, service):
    owner = await user(db, "owner")
    thing = await workflow(db, owner, community=5)

    assert not await check(service, thing, owner, community_id=6)


async def test_a_denial_is_a_row_of_the_record(db, service):
    stranger = await user(db, "stranger")
    thing = await workflow(db, await user(db, "owner"), community=5)

    await check(service, thing, stranger)

    row = (await db(db.audit_log).select())[0]
    assert (row.category, row.action, row.result) == ("AUTHZ", "execute_workflow", "DENIED")
    assert (row.actor_id, row.workflow_id, row.community_id) == (stranger, thing, 5)


async def test_who_sees_it_but_lacks_the_flag_is_denied_and_others_find_nothing(db, service):
    owner, viewer, stranger = [await user(db, name) for name in ("owner", "viewer", "stranger")]
    thing = await workflow(db, owner)
    await grant(db, thing, "user", viewer, "can_view")
    row = await db.workflow(thing)

    with pytest.raises(Denied):
        await service.require(Actor(user_id=viewer), row, Flag.EXECUTE, called="w")
    with pytest.raises(WorkflowNotFound):
        await service.require(Actor(user_id=stranger), row, Flag.EXECUTE, called="w")


async def test_grants_are_remembered_for_a_moment_and_forgotten_on_request(db, service):
    stranger = await user(db, "stranger")
    thing = await workflow(db, await user(db, "owner"))
    before = await check(service, thing, stranger)
    await grant(db, thing, "user", stranger, "can_execute")
    remembered = await check(service, thing, stranger)

    service.forget(thing)

    assert [bool(before), bool(remembered)] == [False, False]
    assert await check(service, thing, stranger)


async def test_the_list_holds_what_the_user_may_and_continues(db, service):
    owner, reader = await user(db, "owner"), await user(db, "reader", roles=[(5, "viewer"), (6, "viewer")])
    mine = await workflow(db, reader)
    by_user = await workflow(db, owner)
    by_role = await workflow(db, owner, community=5)
    by_community = await workflow(db, owner)
    hidden = await workflow(db, owner, community=7)
    await grant(db, by_user, "user", reader, "can_view")
    await grant(db, by_role, "role", "viewer", "can_view")
    await grant(db, by_community, "community", 6, "can_view")
    await grant(db, hidden, "role", "viewer", "can_view")

    first = await service.list_workflows_for_user(reader, limit=3)
    rest = await service.list_workflows_for_user(reader, limit=3, after=first[-1].id)

    assert [found.id for found in [*first, *rest]] == sorted([mine, by_user, by_role, by_community])


async def test_an_administrators_list_holds_everything(db, service):
    boss = await user(db, "boss", is_admin=True)
    thing = await workflow(db, await user(db, "owner"))

    assert [found.id for found in await service.list_workflows_for_user(boss)] == [thing]
