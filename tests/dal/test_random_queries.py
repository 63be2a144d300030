"""Random queries: rows must be those of a Python evaluation of the same tree, cached SQL that of a fresh build.

The one silent failure imaginable in the shape cache is two different queries that share a key; this is the guard.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from models.dal import AsyncDAL
from tests.dal.conftest import T0, declare

QUERIES = 400
TEXTS = ["a", "A", "ab", "a%b", "a_b", "\\", "'", "x' OR 1=1 --", "$1", "?1", "\x010\x02", "%", "_", "||", "zz", "b\\%"]
Truth = Callable[[Any], bool | None]
COMPARE = ["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"]


def like(pattern: str, text: str, *, fold: bool = False) -> bool:
    """LIKE as pyDAL means it: without an escape character a backslash is a character."""
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.S | (re.I if fold else 0)) is not None


def both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    return True if a or b else None if a is None or b is None else False


def unless_null(column: str, test: Callable[[Any], bool]) -> Truth:
    return lambda row: None if row[column] is None else test(row[column])


class Generator:
    """Makes a query and the function that says for a row whether it matches (None: SQL's unknown)."""

    def __init__(self, table: Any, seed: int) -> None:
        self.w = table
        self.random = random.Random(seed)
        self.leaves = [getattr(self, name) for name in dir(self) if name.startswith("leaf_")]

    def tree(self, depth: int) -> tuple[Any, Truth]:
        kind = self.random.choice(["and", "or", "not"]) if depth and self.random.random() < 0.65 else "leaf"
        if kind == "leaf":
            return self.random.choice(self.leaves)(self.random.choice(TEXTS), self.random.randrange(6))
        query, truth = self.tree(depth - 1)
        if kind == "not":
            return ~query, lambda row: None if truth(row) is None else not truth(row)
        other, other_truth = self.tree(depth - 1)
        if kind == "and":
            return query & other, lambda row: both(truth(row), other_truth(row))
        return query | other, lambda row: either(truth(row), other_truth(row))

    def leaf_equal(self, s, i):
        return self.w.title == s, lambda row: row["title"] == s

    def leaf_unequal(self, s, i):
        return self.w.title != s, lambda row: row["title"] != s

    def leaf_compare(self, s, i):
        operator = self.random.choice(COMPARE)
        return getattr(self.w.n, operator)(i), unless_null("n", lambda n: getattr(n, operator)(i))

    def leaf_null(self, s, i):
        if i % 2:
            return self.w.n == None, lambda row: row["n"] is None  # noqa: E711
        return self.w.n != None, lambda row: row["n"] is not None  # noqa: E711

    def leaf_in_numbers(self, s, i):
        among = [self.random.randrange(6) for _ in range(self.random.randrange(4))]
        return self.w.n.belongs(
            among
        ), lambda row: (False if not among else None) if row["n"] is None else row["n"] in among

    def leaf_in_texts(self, s, i):
        among = [self.random.choice(TEXTS) for _ in range(self.random.randrange(4))]
        return self.w.title.belongs(among), lambda row: row["title"] in among

    def leaf_tag(self, s, i):
        return self.w.tags.contains(s), lambda row: s in row["tags"]

    def leaf_tags(self, s, i):
        tags, needs_all = [s, self.random.choice(TEXTS)], i % 2 == 0
        quantifier = all if needs_all else any
        return self.w.tags.contains(tags, all=needs_all), lambda row: quantifier(tag in row["tags"] for tag in tags)

    def leaf_like(self, s, i):
        return self.w.title.like(s), lambda row: like(s, row["title"])

    def leaf_ilike(self, s, i):
        return self.w.title.ilike(s), lambda row: like(s, row["title"], fold=True)

    def leaf_startswith(self, s, i):
        return self.w.title.startswith(s), lambda row: row["title"].startswith(s)

    def leaf_endswith(self, s, i):
        return self.w.title.endswith(s), lambda row: row["title"].endswith(s)

    def leaf_contains(self, s, i):
        if i % 2:
            return self.w.title.contains(s, case_sensitive=True), lambda row: s in row["title"]
        return self.w.title.contains(s, case_sensitive=False), lambda row: s.lower() in row["title"].lower()

    def leaf_boolean(self, s, i):
        return self.w.active == bool(i % 2), lambda row: row["active"] == bool(i % 2)

    def leaf_moment(self, s, i):
        moment = T0 + timedelta(seconds=i)
        return self.w.created >= moment, lambda row: row["created"] >= moment

    def leaf_computed(self, s, i):
        limit = self.random.randrange(6)
        return (self.w.n + i) > limit, unless_null("n", lambda n: n + i > limit)

    def leaf_range(self, s, i):
        top = self.random.randrange(6)
        return (self.w.title == s) | (
            (self.w.n >= i) & (self.w.n <= top)
        ), lambda row: True if row["title"] == s else None if row["n"] is None else i <= row["n"] <= top

    def rows(self, count: int) -> list[dict[str, Any]]:
        pick = self.random
        return [
            {
                "id": uuid.UUID(int=n),
                "ref": f"f{n}",
                "title": pick.choice(TEXTS) + pick.choice(["", "", "a", "%"]),
                "n": pick.choice([None, *range(6)]),
                "active": pick.random() < 0.5,
                "tags": pick.sample(TEXTS, pick.randrange(3)),
                "created": T0 + timedelta(seconds=pick.randrange(6)),
            }
            for n in range(count)
        ]


async def test_random_queries_find_what_python_finds(small, request):
    seed = request.config.getoption("randomly_seed", 7)
    seed = seed if isinstance(seed, int) else 7
    generator = Generator(small.workflow, seed)
    fresh = declare(AsyncDAL("sqlite:///unused.db" if small.engine == "sqlite" else "postgresql://unused/unused"))
    rows = generator.rows(60)
    await small.batch(*[small.workflow.insert(**row) for row in rows])

    for number in range(QUERIES):
        query, truth = generator.tree(3)
        call = small(query).select(small.workflow.ref)
        found = sorted(row.ref for row in await call)

        where = f"seed {seed}, query {number}: {call.bound()}"
        assert found == sorted(row["ref"] for row in rows if truth(row) is True), where

    await _cached_equals_fresh(small, fresh, seed)


async def _cached_equals_fresh(small, fresh, seed):
    """The same trees again, one compiler with its cache full, one with none."""
    cached, uncached = Generator(small.workflow, seed), Generator(fresh.workflow, seed)
    for _ in range(100):
        kept = small(cached.tree(3)[0]).select(small.workflow.ref)
        fresh.compiler.forget()
        built = fresh(uncached.tree(3)[0]).select(fresh.workflow.ref)
        assert kept.bound() == built.bound()
