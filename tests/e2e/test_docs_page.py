"""Swagger UI in a real browser that cannot reach the internet: it renders, authorizes, tries routes out, remembers."""

import json

import pytest

from tests.support.browser import page
from tests.support.server import running

pytestmark = pytest.mark.e2e

RENDERED = "() => document.querySelectorAll('.opblock').length"
ME = "#operations-access-get_me"
TRY = f"""() => {{
    const block = document.querySelector('{ME}');
    if (!block) return false;
    if (!block.classList.contains('is-open')) block.querySelector('.opblock-summary-control').click();
    const execute = block.querySelector('.execute');
    if (execute) execute.click();
    return Boolean(execute);
}}"""
STATUS = f"""() => {{
    const found = document.querySelector('{ME} .live-responses-table tbody .response-col_status');
    return found && found.innerText.trim().slice(0, 3);
}}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def browser(tmp_path):
    with page(tmp_path / "profile") as found:
        yield found


def test_the_page_renders_without_the_internet(server, browser):
    browser.open(f"{server.url}/docs")

    assert browser.until(RENDERED) > 20
    assert browser.evaluate("document.title") == "Millrace API"
    assert [address for address in browser.requests if not address.startswith((server.url, "data:"))] == []
    assert browser.complaints == []


def test_a_route_is_tried_out_without_and_with_a_key(server, browser):
    browser.open(f"{server.url}/docs")
    browser.until(RENDERED)

    browser.until(TRY)
    without = browser.until(STATUS)
    browser.evaluate(f"ui.preauthorizeApiKey('ApiKey', {json.dumps(server.key)})")
    browser.until(TRY)
    with_key = browser.until(f"() => ({STATUS})() === '200' && '200'")

    assert (without, with_key) == ("401", "200")


def test_the_stored_key_is_there_again_after_a_reload(server, browser):
    browser.open(f"{server.url}/docs")
    browser.until(RENDERED)
    browser.evaluate(
        "ui.authActions.authorizeWithPersistOption({ApiKey: {name: 'ApiKey', value: "
        + json.dumps(server.key)
        + ", schema: {type: 'apiKey', in: 'header', name: 'X-API-Key'}}})"
    )

    browser.open(f"{server.url}/docs")
    browser.until(RENDERED)
    browser.until(TRY)

    assert browser.until(STATUS) == "200"
