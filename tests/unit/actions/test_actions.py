from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from models.records import Effect
from services.actions.addresses import AllowList
from services.actions.builtin import BUILTINS
from services.actions.catalogue import BadAction, Catalogue, Runner, parse
from services.actions.core_pack import CORE_ACTIONS
from services.actions.outcome import ActionFailed, Call, Outcome
from services.actions.runners import Runners
from services.actions.secrets import MASK, Secrets


@pytest.fixture
def runners() -> Runners:
    return Runners(Catalogue(CORE_ACTIONS), builtins=BUILTINS)


async def run(runners: Runners, ref: str, **given: Any) -> Outcome:
    return await runners.perform(Call(ref=ref, input=given), timeout_s=1)


@pytest.mark.parametrize(
    ("ref", "given", "output"),
    [
        ("core.noop", {"anything": 1}, None),
        ("core.echo", {"message": "hi"}, {"message": "hi", "stdout": "hi"}),
        ("core.set", {"a": 1}, {"a": 1}),
        ("core.transform", {"value": [1]}, [1]),
        ("core.transform", {"value": {"a": {"b": [5]}}, "fields": {"x": "a.b.0", "y": "a.z"}}, {"x": 5, "y": None}),
        ("core.transform", {"value": [{"a": 1}], "fields": {"n": "a"}}, [{"n": 1}]),
        (
            "core.filter",
            {"items": [{"n": 1}, {"n": 3}], "where": [{"field": "n", "operator": "greater_than", "value": 2}]},
            [{"n": 3}],
        ),
        (
            "core.filter",
            {
                "items": ["apple", "pear"],
                "where": [{"operator": "contains", "value": "zz"}, {"operator": "matches_regex", "value": "^p"}],
                "match": "any",
            },
            ["pear"],
        ),
    ],
)
async def test_a_built_in_action_gives_its_output(runners: Runners, ref: str, given: Any, output: Any) -> None:
    outcome = await run(runners, ref, **given)

    assert (outcome.error, outcome.output) == (None, output)


async def test_a_log_line_is_kept_with_the_node(runners: Runners) -> None:
    outcome = await run(runners, "core.log", message="look", level="warning")

    assert outcome.logs == ({"level": "warning", "message": "look"},)


@pytest.mark.parametrize(
    ("ref", "given", "kind", "says"),
    [
        ("core.fail", {"message": "no luck"}, "execution", "no luck"),
        ("core.log", {}, "validation", "'message' is a required property"),
        ("core.log", {"message": "x", "bogus": 1}, "validation", "bogus"),
        ("core.log", {"message": "x", "level": 7}, "validation", "input of core.log: level: 7 is not"),
        ("core.nothing", {}, "validation", "unknown action 'core.nothing'"),
        ("core.filter", {"items": [1], "where": [{"operator": "bogus"}]}, "validation", "use equals, not_equals"),
        (
            "core.filter",
            {"items": ["a"], "where": [{"operator": "matches_regex", "value": "(a+)+$"}]},
            "validation",
            "not bounded",
        ),
    ],
)
async def test_a_failure_says_what_was_wrong(runners: Runners, ref: str, given: Any, kind: str, says: str) -> None:
    outcome = await run(runners, ref, **given)

    assert outcome.error is not None
    assert outcome.error["type"] == kind
    assert says in outcome.error["message"]


def test_a_declaration_is_read_with_its_defaults() -> None:
    spec = parse(
        {"name": "post", "runner": "http", "effect": "irreversible", "timeout": "2m", "request": {"url": "http://x"}},
        pack_ref="slack",
    )

    assert (spec.ref, spec.runner, spec.effect, spec.timeout_s) == (
        "slack.post",
        Runner.HTTP,
        Effect.IRREVERSIBLE,
        120.0,
    )


def test_all_problems_of_a_declaration_are_said_at_once() -> None:
    with pytest.raises(BadAction) as refusal:
        parse({"ref": "other.x", "runner": "shell", "entry": "../x", "timeout": "soon", "colour": 1}, pack_ref="p")

    assert len(refusal.value.problems) == 4


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("example.org", "93.184.216.34", True),
        ("example.org", "127.0.0.1", False),
        ("example.org", "10.1.2.3", False),
        ("example.org", "169.254.169.254", False),
        ("example.org", "100.64.0.1", False),
        ("example.org", "0.0.0.0", False),
        ("example.org", "224.0.0.1", False),
        ("example.org", "::1", False),
        ("example.org", "fe80::1%eth0", False),
        ("example.org", "::ffff:127.0.0.1", False),
        ("example.org", "64:ff9b::7f00:1", False),
        ("example.org", "2002:7f00:1::", False),
        ("example.org", "::127.0.0.1", False),
        ("example.org", "fec0::1", False),
        ("example.org", "64:ff9b:1::7f00:1", False),
        ("example.org", "ff02::1", False),
        ("example.org", "::", False),
        ("example.org", "fd00:ec2::254", False),
        ("example.org", "100.100.100.200", False),
        ("example.org", "168.63.129.16", False),
        ("example.org", "240.0.0.1", False),
        ("example.org", "255.255.255.255", False),
        ("example.org", "2606:2800:220:1::1", True),
        ("x", "::ffff:192.168.7.9", True),
        ("x", "2001:0:4136:e378:8000:63bf:3f57:f8f6", True),
        ("inside.test", "10.0.0.1", True),
        ("a.corp.test", "10.0.0.1", True),
        ("corp.test.evil", "10.0.0.1", False),
        ("x", "192.168.7.9", True),
    ],
)
def test_only_public_or_named_addresses_are_reached(host: str, address: str, allowed: bool) -> None:
    rules = AllowList.parse(["inside.test", ".corp.test", "192.168.7.0/24"])

    assert rules.allows(host, address) is allowed


def test_secrets_that_no_list_closes_are_named(tmp_path: Path) -> None:
    for name in ("open", "closed", "closed.packs", "..data"):
        (tmp_path / name).write_text("s3cr3t-value\n")

    assert Secrets(tmp_path).open_to_all() == ["open"]
    assert Secrets(None).open_to_all() == Secrets(tmp_path / "absent").open_to_all() == []


def test_a_secret_is_never_seen_in_a_result(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t-value\n")
    secrets = Secrets(tmp_path)
    value = secrets.reveal("token", pack="slack")

    assert secrets.scrub({"echo": [f"Bearer {value}"]}) == {"echo": ["Bearer [secret]"]}


@pytest.mark.parametrize(
    "value",
    ["s3cr3t-value", "S3cr3t-Value", "päss wörd+/?&=%", "Tr0ub4dor&3 \"<'", 'quo"ted\\back', "line one 1\nline two 2"],
)
@pytest.mark.parametrize("lead", ["", "a", "ab", "user:"])
def test_a_secret_is_recognised_however_it_is_written(tmp_path: Path, value: str, lead: str) -> None:
    (tmp_path / "token").write_text(value)
    secrets = Secrets(tmp_path)
    secrets.reveal("token", pack="p")
    raw = f"{lead}{value}:tail".encode()
    written = [
        f"x {value} y",
        f"https://h/?q={quote_plus(value)}&r={quote(value, safe='')}",
        json.dumps({"a": value}),
        json.dumps({"a": value}, ensure_ascii=False),
        b64encode(raw).decode(),
        urlsafe_b64encode(raw).decode(),
        f"http://{value.lower()}.example.invalid/",
        f"<p>{html.escape(value)}</p>",
        f"<p>{html.escape(value, quote=False)}</p>",
        f"<p>{value.replace('&', '&amp;').replace('<', '&lt;')}</p>".replace('"', "&#34;").replace("'", "&#39;"),
    ]

    assert [text for text in written if MASK not in secrets.scrub(text)] == []


def test_a_secret_of_digits_is_recognised_as_a_number(tmp_path: Path) -> None:
    (tmp_path / "card").write_text("0711081512345678\n")
    secrets = Secrets(tmp_path)
    secrets.reveal("card", pack="p")

    assert secrets.scrub({"n": 711081512345678, "f": 711081512345678.0, "other": 7, "yes": True}) == {
        **{"n": MASK, "f": MASK, "other": 7, "yes": True}
    }


def test_a_secret_of_several_lines_is_recognised_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN KEY-----\nMIIabcdefgh\n-----END KEY-----\n")
    secrets = Secrets(tmp_path)
    secrets.reveal("key", pack="p")

    assert secrets.scrub(["said MIIabcdefgh"]) == ["said [secret]"]


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", None])
def test_a_secret_that_cannot_be_read_fails_the_task_and_nothing_else(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        (tmp_path / "token").write_text("s3cr3t-value")
        (tmp_path / "token.packs").write_bytes(b"\xff")
    else:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(ActionFailed, match="cannot be read"):
        Secrets(tmp_path).reveal("token", pack="p")


async def test_an_action_that_breaks_shows_no_secret_in_the_log(tmp_path: Path, caplog) -> None:
    (tmp_path / "token").write_text("s3cr3t-value")
    secrets = Secrets(tmp_path)
    value = secrets.reveal("token", pack="p")

    def broken(_call: Call) -> None:
        raise RuntimeError(f"cannot use {value}")

    await run(Runners(Catalogue(CORE_ACTIONS), builtins={"noop": broken}, scrub=secrets.scrub), "core.noop")

    assert "cannot use [secret]" in caplog.text
    assert value not in caplog.text


def test_a_secret_is_kept_from_other_packs(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t-value")
    (tmp_path / "token.packs").write_text("slack\n")

    with pytest.raises(ActionFailed, match="may not use"):
        Secrets(tmp_path).reveal("token", pack="other")


@pytest.mark.parametrize("name", ["../etc/passwd", "", ".hidden", "missing", "token.packs", "a\nb", "a/b"])
def test_a_secret_outside_the_folder_does_not_exist(tmp_path: Path, name: str) -> None:
    (tmp_path / "token.packs").write_text("p")

    with pytest.raises(ActionFailed, match="there is no secret"):
        Secrets(tmp_path).reveal(name, pack="p")
