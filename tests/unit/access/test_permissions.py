"""Who may do what: every door, every relation, every flag."""

import itertools

import pytest

from models.records import Flag
from services.access.permissions import (
    ADMIN_ONLY,
    Grant,
    Guarded,
    Permission,
    Scope,
    Subject,
    may_pass,
    narrower,
    resolve,
)

OWNER, STRANGER, COMMUNITY = 1, 2, 10


def grant(kind: str, subject: str, *flags: Flag) -> Grant:
    return Grant(subject_type=kind, subject_id=subject, flags=frozenset(flags))


def workflow(*grants: Grant, community: int | None = COMMUNITY) -> Guarded:
    return Guarded(owner_id=OWNER, community_id=community, grants=grants)


def user(number: int = STRANGER, **more) -> Subject:
    return Subject(user_id=number, **more)


@pytest.mark.parametrize("flag", list(Flag))
def test_the_owner_may_do_everything(flag):
    verdict = resolve(user(OWNER), workflow(), flag)

    assert verdict
    assert verdict.reason == "owner"


@pytest.mark.parametrize("flag", list(Flag))
def test_an_administrator_passes_and_is_named_as_such(flag):
    verdict = resolve(user(is_admin=True), workflow(), flag)

    assert verdict
    assert verdict.reason == "admin"


@pytest.mark.parametrize("flag", list(Flag))
def test_a_stranger_may_not_even_see_it(flag):
    verdict = resolve(user(), workflow(), flag)

    assert not verdict
    assert not verdict.visible


@pytest.mark.parametrize(("given", "asked"), list(itertools.product(Flag, Flag)))
@pytest.mark.parametrize(
    ("kind", "subject"), [("user", str(STRANGER)), ("role", "editor"), ("community", str(COMMUNITY))]
)
def test_a_grant_gives_its_flag_and_no_other(kind, subject, given, asked):
    caller = user(roles=frozenset({(COMMUNITY, "editor")}))

    verdict = resolve(caller, workflow(grant(kind, subject, given)), asked)

    assert bool(verdict) is (given is asked)
    assert verdict.visible is (given is asked or given is Flag.VIEW)


@pytest.mark.parametrize(
    ("kind", "subject"), [("user", str(OWNER)), ("role", "viewer"), ("community", str(COMMUNITY + 1))]
)
def test_a_grant_to_somebody_else_gives_nothing(kind, subject):
    caller = user(roles=frozenset({(COMMUNITY, "editor")}))

    assert not resolve(caller, workflow(grant(kind, subject, *Flag)), Flag.VIEW)


def test_a_role_counts_only_in_the_community_of_the_workflow():
    elsewhere = user(roles=frozenset({(COMMUNITY + 1, "editor")}))

    assert not resolve(elsewhere, workflow(grant("role", "editor", *Flag)), Flag.VIEW)


def test_a_role_means_nothing_for_a_workflow_of_no_community():
    caller = user(roles=frozenset({(COMMUNITY, "editor")}))

    assert not resolve(caller, workflow(grant("role", "editor", *Flag), community=None), Flag.VIEW)


@pytest.mark.parametrize(
    ("grants", "reason"),
    [
        ([("user", str(STRANGER)), ("role", "editor"), ("community", str(COMMUNITY))], "grant to the user"),
        ([("role", "editor"), ("community", str(COMMUNITY))], "grant to a role"),
        ([("community", str(COMMUNITY))], "grant to the community"),
    ],
)
def test_the_nearest_relation_is_the_reason(grants, reason):
    caller = user(roles=frozenset({(COMMUNITY, "editor")}))
    given = [grant(kind, subject, Flag.EXECUTE) for kind, subject in reversed(grants)]

    assert resolve(caller, workflow(*given), Flag.EXECUTE).reason == reason


@pytest.mark.parametrize("caller", [user(OWNER), user(is_admin=True)])
def test_a_community_that_is_not_the_workflows_hides_it_from_everybody(caller):
    verdict = resolve(caller, workflow(), Flag.VIEW, community_id=COMMUNITY + 1)

    assert not verdict
    assert not verdict.visible


def test_a_workflow_of_no_community_may_be_used_in_any():
    assert resolve(user(OWNER), workflow(community=None), Flag.EXECUTE, community_id=COMMUNITY)


@pytest.mark.parametrize(("limit", "seen"), [(COMMUNITY, True), (COMMUNITY + 1, False), (None, True)])
def test_a_key_limited_to_a_community_sees_no_other(limit, seen):
    assert bool(resolve(user(OWNER, community_id=limit), workflow(), Flag.VIEW)) is seen


@pytest.mark.parametrize("permission", list(Permission))
def test_an_unlimited_key_passes_every_door_but_the_administrators(permission):
    assert bool(may_pass(permission, is_admin=False, scopes=frozenset())) is (permission not in ADMIN_ONLY)
    assert may_pass(permission, is_admin=True, scopes=frozenset())


@pytest.mark.parametrize(("permission", "scope"), list(itertools.product(Permission, Scope)))
def test_a_limited_key_passes_the_doors_of_its_scope(permission, scope):
    verdict = may_pass(permission, is_admin=True, scopes=frozenset({scope}))

    assert bool(verdict) is (permission.scope in (None, scope))


def test_a_door_for_administrators_needs_the_scope_too():
    assert all(permission.scope is Scope.ADMIN for permission in ADMIN_ONLY)


def test_every_door_has_a_name_of_its_own():
    labels = [permission.label for permission in Permission]

    assert len(labels) == len(set(labels))


@pytest.mark.parametrize(
    ("wanted", "held", "allowed"),
    [
        ((), frozenset(), True),
        (("read",), frozenset(), True),
        ((), frozenset({"read"}), False),
        (("read",), frozenset({"read"}), True),
        (("read", "runs:write"), frozenset({"read"}), False),
    ],
)
def test_a_key_reaches_no_further_than_its_maker(wanted, held, allowed):
    assert narrower(wanted, held) is allowed
