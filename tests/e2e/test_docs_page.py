"""Swagger UI in a real browser that cannot reach the internet: it renders, authorizes, tries routes out, remembers."""

import json

import pytest

from tests.support.browser import page
from tests.support.server import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

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


HELPERS = """
window.put = (field, value) => {
    const kind = field.tagName === 'TEXTAREA' ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(field, value);
    field.dispatchEvent(new Event('input', {bubbles: true}));
    field.dispatchEvent(new Event('change', {bubbles: true}));
    field.dispatchEvent(new FocusEvent('focusout', {bubbles: true}));  // else the page waits whether more is typed
    return true;
};
window.block = (id) => {
    const found = document.getElementById(id);
    if (found && !found.classList.contains('is-open')) found.querySelector('.opblock-summary-control').click();
    return found;
};
"""
AUTHORIZE = """(key) => {
    const field = document.querySelector('.modal-ux input');
    if (!field) { document.querySelector('.auth-wrapper .authorize').click(); return false; }
    put(field, key);
    document.querySelector('.modal-ux .auth-btn-wrapper .authorize').click();
    return true;
}"""
DONE = """() => {
    const button = document.querySelector('.modal-ux .auth-btn-wrapper .btn-done');
    if (button) button.click();
    return !document.querySelector('.modal-ux');
}"""
FILL = """(id, body, parameters) => {
    const shown = block(id);
    if (!shown || !shown.querySelector('.execute')) return false;
    const text = shown.querySelector('textarea.body-param__text');
    if (body) { if (!text) return false; put(text, body); }
    for (const [name, value] of Object.entries(parameters)) {
        const field = shown.querySelector(`tr[data-param-name="${name}"] input`);
        if (!field) return false;
        put(field, value);
    }
    return true;
}"""
ANSWER = """(id) => {
    const table = document.getElementById(id).querySelector('.live-responses-table');
    const status = table && table.querySelector('tbody .response-col_status');
    const body = table && table.querySelector('.highlight-code code, .highlight-code pre');
    return status && body && [status.innerText.trim().slice(0, 3), body.innerText];
}"""
WORKFLOW = {
    "ref": "default.from_the_page",
    "pack_ref": "default",
    "label": "From the page",
    "version": "1.0.0",
    "definition": {
        "tasks": [{"name": "greet", "action": "core.echo", "input": {"message": "hello {{ parameters.who }}"}}],
        "output": {"said": "{{ task.greet.result.message }}"},
    },
}


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


def call(script: str, *arguments) -> str:
    """A function of the page with its arguments, as a function without."""
    return f"() => ({script})({', '.join(map(json.dumps, arguments))})"


def tried(browser, operation: str, body=None, **parameters) -> dict:
    """Fill in an operation of the page, press Execute, and read the answer that the page shows."""
    browser.until(call(FILL, operation, body and json.dumps(body), parameters))
    browser.evaluate(f"document.getElementById({json.dumps(operation)}).querySelector('.execute').click()")
    status, text = browser.until(call(ANSWER, operation))
    return {"status": int(status), **json.loads(text)}


def test_a_workflow_is_created_executed_and_read_in_the_page(server, browser, tmp_path):
    browser.open(f"{server.url}/docs")
    browser.until(RENDERED)
    browser.evaluate(HELPERS)

    browser.until(call(AUTHORIZE, server.key))
    browser.until(DONE)
    made = tried(browser, "operations-workflows-post_create_workflow", WORKFLOW)
    started = tried(
        browser,
        "operations-executions-post_execute",
        {"variables": {"who": "browser"}},
        workflow_id=WORKFLOW["ref"],
        wait="20",
    )
    read = tried(browser, "operations-executions-get_get_execution", execution_id=started["data"]["execution_id"])
    (tmp_path / "page.png").write_bytes(browser.picture())

    assert (made["status"], made["data"]["ref"]) == (201, "default.from_the_page")
    assert (started["status"], started["data"]["final_output"]) == (200, {"said": "hello browser"})
    assert (read["status"], read["data"]["status"]) == (200, "completed")
    assert read["data"]["node_states"]["greet"]["output_data"]["message"] == "hello browser"
    assert [address for address in browser.requests if not address.startswith((server.url, "data:"))] == []
