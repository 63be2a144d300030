"""What a caller can say, on both databases."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.dal.conftest import T0


async def add(db, *refs, **values):
    await db.batch(*[db.workflow.insert(ref=ref, **{"title": ref, **values}) for ref in refs])


def refs(rows):
    return sorted(row.ref for row in rows)


async def test_every_field_type_comes_back_as_it_was_given(small):
    w, key = small.workflow, uuid.uuid4()
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    given = {
        "id": key, "ref": "a", "title": "A", "n": 2**62, "score": 1.5, "active": False,
        "meta": {"k": [1, {"é": None}]}, "tags": ["x", "y z"], "position": 3, "created": moment, "version": 0,
    }  # fmt: skip

    row = await w.insert(**given, returning=list(w)).first()

    assert row == given
    assert row == await w(key)
    assert type(row.active) is bool
    assert row.created.tzinfo is not None


async def test_defaults_fill_what_was_not_given_and_none_is_null(small):
    w = small.workflow
    await w.insert(ref="r", n=None, meta=None)

    row = await small(w.ref == "r").select().first()

    assert (row.n, row.meta, row.tags, row.active, row.title) == (None, None, [], True, "t")


async def test_null_is_found_by_comparing_with_none(small):
    w = small.workflow
    await w.insert(ref="none")
    await w.insert(ref="one", n=1)

    found = [await small(w.n == None).count(), await small(w.n != None).count()]  # noqa: E711

    assert found == [1, 1]


async def test_a_naive_datetime_is_refused(small):
    with pytest.raises(ValueError, match="naive"):
        await small.workflow.insert(ref="a", created=datetime(2026, 1, 1))


async def test_a_column_that_does_not_exist_is_refused_before_anything_runs(small):
    with pytest.raises(ValueError, match="no such column in workflow: tpyo"):
        small.workflow.insert(ref="z", tpyo=1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (lambda w: w.ref.like("alpha%"), ["alphabet"]),
        (lambda w: w.ref.ilike("ALPHA%"), ["Alpha", "alphabet"]),
        (lambda w: w.ref.startswith("50%"), ["50%"]),
        (lambda w: w.ref.endswith("%"), ["50%"]),
        (lambda w: w.ref.like("50\\%", escape="\\"), ["50%"]),
        (lambda w: w.ref.like("a!_c", escape="!"), ["a_c"]),
        (lambda w: w.ref.contains("k\\s"), ["back\\slash"]),
        (lambda w: w.ref.contains("K\\S", case_sensitive=False), ["back\\slash"]),
        (lambda w: w.ref.like("back\\slash"), ["back\\slash"]),
        (lambda w: w.ref.belongs(["abc", "50x", "nope"]), ["50x", "abc"]),
        (lambda w: w.ref.belongs([]), []),
        (lambda w: (w.n > 3) & ~w.ref.belongs(["abc"]), ["back\\slash"]),
        (lambda w: (w.n + 1) == 3, ["50%"]),
    ],
)
async def test_patterns_and_lists_mean_the_same_on_both(small, query, expected):
    w = small.workflow
    for n, ref in enumerate(("Alpha", "alphabet", "50%", "50x", "abc", "back\\slash")):
        await w.insert(ref=ref, n=n)
    await w.insert(ref="a_c")

    found = refs(await small(query(w)).select(w.ref))

    assert found == expected


async def test_tags_are_searched_one_any_and_all(small):
    w = small.workflow
    await w.insert(ref="both", tags=["x", "y z"])
    await w.insert(ref="one", tags=["x"])

    found = [
        refs(await small(query).select(w.ref))
        for query in (w.tags.contains("y z"), w.tags.contains(["x", "y z"], all=True), w.tags.contains(["no", "x"]))
    ]

    assert found == [["both"], ["both"], ["both", "one"]]


async def test_a_nested_select_is_a_list(small):
    w = small.workflow
    await add(small, "a", "b", n=7)
    await add(small, "c", n=8)

    found = await small(w.ref.belongs(small(w.n == 7).nested_select(w.ref))).count()

    assert found == 2


async def test_keyset_paging_visits_every_row_once_in_order(small):
    w, seen, last = small.workflow, [], None
    for i in range(25):
        await w.insert(ref=f"r{i:02}", created=T0 + timedelta(seconds=i // 3))

    while True:
        query = w.active == True  # noqa: E712
        if last:
            query &= small.before(w.created | w.id, (last.created, last.id))
        page = await small(query).select(w.id, w.ref, w.created, orderby=~w.created | ~w.id, limit=7)
        if not page:
            break
        seen += [row.ref for row in page]
        last = page[-1]

    assert len(seen) == 25 == len(set(seen))
    assert seen[0] == "r24"


async def test_limit_and_offset_are_bound(small):
    w = small.workflow
    for i in range(6):
        await w.insert(ref=str(i), n=i)

    pages = [
        [row.n for row in await small(w).select(w.n, orderby=w.n, limit=2, offset=2)],
        [row.n for row in await small(w).select(w.n, orderby=w.n, offset=4)],
    ]

    assert pages == [[2, 3], [4, 5]]


async def test_aggregates_groups_and_computed_columns(small):
    w = small.workflow
    for i in range(4):
        await w.insert(ref=str(i), n=i, active=i > 0)

    total = await small(w).select(w.n.sum().with_alias("s"), w.id.count().with_alias("c")).first()
    group = await small(w).select(w.active, w.id.count().with_alias("c"), groupby=w.active, having=w.id.count() > 1)
    computed = await small(w.n == 3).select(
        (w.n + 4).with_alias("x"),
        w.title.coalesce("none").with_alias("y"),
        (w.n > 2).case("big", "small").with_alias("z"),
    )

    assert (total.s, total.c) == (6, 4)
    assert group == [{"active": True, "c": 3}]
    assert computed == [{"x": 7, "y": "t", "z": "big"}]


async def test_joins_nest_their_columns_under_the_tables(small):
    w, s = small.workflow, small.step
    key = await w.insert(ref="J", returning=[w.id]).scalar()
    await add(small, "K")
    for name in ("one", "two"):
        await s.insert(workflow=key, name=name)

    inner = await small((s.workflow == w.id) & (w.ref == "J")).select(w.ref, w.tags, s.name, s.done, orderby=s.name)
    outer = await small(w).select(w.ref, s.name, left=s.on(s.workflow == w.id), orderby=w.ref | s.name)
    joined = await small(w.ref == "J").select(w.ref, s.name, join=s.on((s.workflow == w.id) & (s.name == "two")))

    assert [(r.workflow.ref, r.step.name, r.step.done, r.workflow.tags) for r in inner] == [
        ("J", "one", False, []),
        ("J", "two", False, []),
    ]
    assert [(r.workflow.ref, r.step.name) for r in outer] == [("J", "one"), ("J", "two"), ("K", None)]
    assert [r.step.name for r in joined] == ["two"]


async def test_an_alias_is_a_table_of_its_own(small):
    w, s = small.workflow, small.step
    key = await w.insert(ref="J", returning=[w.id]).scalar()
    await s.insert(workflow=key, name="one")
    p, c = w.with_alias("p"), s.with_alias("c")

    rows = await small((c.workflow == p.id) & (c.name == "one")).select(p.ref, c.name)

    assert [(row.p.ref, row.c.name) for row in rows] == [("J", "one")]


async def test_compare_and_set_is_won_once(small):
    w = small.workflow
    await add(small, "r")
    step = small((w.ref == "r") & (w.version == 0))

    counts = [await step.update(version=w.version + 1), await step.update(version=w.version + 1)]

    assert counts == [1, 0]


async def test_an_update_returns_the_changed_columns(small):
    w = small.workflow
    await add(small, "r")

    row = await small(w.ref == "r").update(meta={"a": 1}, returning=[w.ref, w.meta, w.version]).first()

    assert row == {"ref": "r", "meta": {"a": 1}, "version": 0}


async def test_delete_cascades_and_returns(small):
    w, s = small.workflow, small.step
    key = await w.insert(ref="J", returning=[w.id]).scalar()
    await s.insert(workflow=key, name="one")

    gone = await small(w.ref == "J").delete(returning=[w.ref])

    assert refs(gone) == ["J"]
    assert await small(s).count() == 0


async def test_upsert_updates_inserts_or_leaves_alone(small):
    w, s = small.workflow, small.step
    key = await w.insert(ref="J", returning=[w.id]).scalar()
    on = [s.workflow, s.name]

    counts = [
        await s.upsert(on, workflow=key, name="one", done=False),
        await s.upsert(on, workflow=key, name="one", done=True),
        await s.upsert(on, update=(), workflow=key, name="one", done=False),
    ]
    row = await s.upsert(on, update=("done",), workflow=key, name="one", done=False, returning=[s.done]).first()

    assert counts == [1, 1, 0]
    assert row == {"done": False}


async def test_hand_written_sql_binds_names_and_decodes_declared_fields(small):
    w = small.workflow
    key = await w.insert(ref="r", tags=["even"], returning=[w.id]).scalar()

    row = await small.sql(
        "SELECT id, tags, active, created FROM workflow WHERE ref = :r AND ':r' <> :r -- :x", into=w, r="r"
    ).first()
    count = await small.sql(
        pg="SELECT count(*)::int FROM workflow WHERE id = ANY(:ids::uuid[])",
        sqlite="SELECT count(*) FROM workflow WHERE id IN (SELECT value FROM json_each(:ids))",
        ids=[key],
    ).scalar()
    changed = await small.sql("UPDATE workflow SET n = :n WHERE ref = :r", n=5, r="r")

    assert row == {"id": key, "tags": ["even"], "active": True, "created": T0}
    assert (count, changed) == (1, 1)


async def test_hand_written_sql_refuses_missing_and_extra_values(small):
    for values in ({}, {"a": 1, "b": 2}):
        with pytest.raises(ValueError, match="parameters are"):
            small.sql("SELECT :a", **values)


async def test_a_compiled_query_takes_its_arguments_by_position_or_name(small):
    w = small.workflow
    await add(small, "a", "b", "c", tags=["even"])
    by_ref = small.compiled(
        lambda ref, n: small((w.ref == ref) | w.tags.contains(ref)).select(w.ref, orderby=w.ref, limit=n)
    )
    among = small.compiled(lambda names: small(w.ref.belongs(names) & w.title.ilike("A%")).count())

    found = [refs(await by_ref("b", 5)), refs(await by_ref("even", n=2)), await among(names=["a", "b"])]

    assert found == [["b"], ["a", "b"], 1]


async def test_a_compiled_call_keeps_first_scalar_and_expect(small):
    w = small.workflow
    await add(small, "a")
    title = small.compiled(lambda ref: small(w.ref == ref).select(w.title).scalar())
    row = small.compiled(lambda ref: small(w.ref == ref).select(w.ref).first())
    put = small.compiled(lambda ref, meta: w.insert(ref=ref, meta=meta, created=datetime(2026, 1, 1, tzinfo=UTC)))

    found = [await title("a"), await row("a"), await row("none"), await put("m", [1])]

    assert found == ["a", {"ref": "a"}, None, 1]
    assert (await small(w.ref == "m").select().first()).meta == [1]


async def test_a_compiled_query_refuses_to_decide_by_its_arguments(small):
    w = small.workflow
    branching = small.compiled(lambda ref: small(w.ref == ref).select() if ref else small(w).select())

    with pytest.raises(TypeError, match="no value yet"):
        branching("a")


async def test_the_declared_schema_is_the_database(small):
    assert await small.check_schema() == []


async def test_check_schema_names_what_differs(small):
    await small.sql("ALTER TABLE step RENAME COLUMN done TO finished")

    assert await small.check_schema() == ["step.done missing", "step.finished not declared"]
