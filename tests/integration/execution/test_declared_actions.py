"""HTTP actions that a pack declares: rendered, sent, judged, scrubbed of nothing they should not show."""

from pathlib import Path

import httpx
import pytest

from bench.demo_target import World, serving
from services.actions.catalogue import Catalogue, Runner
from services.actions.declared import DeclaredHttp
from services.actions.http import HttpRunner
from services.actions.outcome import Call
from services.actions.runners import Runners
from services.actions.secrets import Secrets
from services.registry.pack_files import read_folder
from services.registry.pack_loader import load

PACKS = Path(__file__).parents[3] / "packs"
SLACK = [action.spec for action in load(read_folder(PACKS, "slack")).actions]


class Chat(World):
    """A chat that refuses one channel."""

    def answer(self, method, path, body, token):
        if path == "/chat.postMessage" and body["channel"] == "#closed":
            self.told.append((method, path, body))
            return 200, {"ok": False, "error": "channel_not_found"}
        return super().answer(method, path, body, token)


@pytest.fixture
def chat():
    world = Chat()
    with serving(world) as url:
        world.url = url
        yield world


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    (tmp_path / "slack_token").write_text("xoxb-0123456789\n")
    (tmp_path / "slack_token.packs").write_text("slack\n")
    return Secrets(tmp_path)


@pytest.fixture
async def runners(chat, secrets):
    async def config(pack_ref: str) -> dict:
        assert pack_ref == "slack"
        return {"api_url": chat.url}

    http = HttpRunner(httpx.AsyncClient, max_bytes=1_000_000)
    declared = DeclaredHttp(http, secrets=secrets, config=config)
    yield Runners(Catalogue(SLACK), builtins={}, others={Runner.HTTP: declared})
    await http.close()


def call(ref: str, **given) -> Call:
    return Call(ref=ref, input=given, key="e/n/1")


async def test_a_declared_request_is_rendered_and_its_answer_mapped(runners, chat):
    outcome = await runners.perform(call("slack.post_message", channel="#a", text="hi"))

    assert outcome.output == {"channel": "#a", "ts": "1700000000.1"}
    assert chat.told == [("POST", "/chat.postMessage", {"channel": "#a", "text": "hi"})]


async def test_the_secret_is_that_of_the_actions_own_pack(runners, chat):
    await runners.perform(call("slack.post_message", channel="#a"))

    assert chat.tokens == {"Bearer xoxb-0123456789"}


async def test_an_answer_that_says_it_failed_is_a_failure(runners):
    outcome = await runners.perform(call("slack.post_message", channel="#closed"))

    assert outcome.error["type"] == "api_error"
    assert "channel_not_found" in outcome.error["message"]


async def test_an_input_that_does_not_fit_is_never_sent(runners, chat):
    outcome = await runners.perform(call("slack.post_message", text="no channel"))

    assert outcome.error["type"] == "validation"
    assert chat.told == []


async def test_a_pack_without_the_right_gets_no_secret(runners, chat, tmp_path):
    (tmp_path / "slack_token.packs").write_text("other\n")

    outcome = await runners.perform(call("slack.post_message", channel="#a"))

    assert "may not use the secret" in outcome.error["message"]
    assert chat.told == []


async def test_an_action_that_was_declared_anew_is_compiled_anew(chat, secrets):
    async def config(_: str) -> dict:
        return {"api_url": chat.url}

    http = HttpRunner(httpx.AsyncClient, max_bytes=1_000_000)
    declared = DeclaredHttp(http, secrets=secrets, config=config)
    import dataclasses

    (spec,) = (spec for spec in SLACK if spec.ref == "slack.post_message")
    catalogue = Catalogue([spec])
    runners = Runners(catalogue, builtins={}, others={Runner.HTTP: declared})
    await runners.perform(call("slack.post_message", channel="#a"))
    changed = dataclasses.replace(spec, response={"output": {"changed": True}})
    catalogue.replace_pack("slack", [changed])

    outcome = await runners.perform(call("slack.post_message", channel="#a"))

    assert outcome.output == {"changed": True}
    await http.close()
