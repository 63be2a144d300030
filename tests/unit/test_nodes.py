"""Node graphs: every type of node, played to its end."""

from typing import Any

import pytest

from services.engine.compile import compile_definition
from tests.unit.play import Fails, Played, play


def node(kind: str, **config: Any) -> dict:
    return {"node_type": kind, "label": "L", "position": {"x": 1, "y": 2}, **config}


def chat(text: str, **more: Any) -> dict:
    return node("action_chat_message", message_template=text, **more)


def module(name: str, **more: Any) -> dict:
    return node("action_module", module_name=name, **more)


def rule(variable: str, operator: str, value: Any = None) -> dict:
    return {"variable": variable, "operator": operator, "value": value}


def put(**variables: Any) -> dict:
    return node("data_variable_set", variables=variables)


def link(text: str) -> dict:
    """`a.port > b` is a connection."""
    source, target = (part.strip() for part in text.split(">"))
    source, _, port = source.partition(".")
    return {"from_node_id": source, "from_port_name": port or "output", "to_node_id": target, "to_port_name": "input"}


def graph(*links: str, **nodes: dict) -> dict:
    trigger = node("trigger_command", command_pattern="!go", platforms=["slack"])
    return {"metadata": {"name": "g"}, "nodes": {"t": trigger, **nodes}, "connections": [link(text) for text in links]}


def run(document: dict, parameters: dict | None = None, act: Any = lambda _: {}) -> Played:
    compiled = compile_definition(document)
    assert compiled.errors == (), compiled.errors
    return play(compiled.graph, parameters, act)


def problems(document: dict) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in compile_definition(document).errors]


def messages(played: Played) -> list[Any]:
    return [given["message"] for _, given in played.performed]


def test_names_in_texts_are_variables_and_trigger_data_comes_first():
    document = graph("t > a", "a > end", a=chat("Hello {{ name }}, {{count}} {{missing}}!"), end=node("flow_end"))
    document["global_variables"] = {"name": "nobody", "count": 3}

    played = run(document, {"name": "ann"})

    assert messages(played) == ["Hello ann, 3 !"]
    assert (played.status, played.output) == ("completed", {"name": "ann", "count": 3})


@pytest.mark.parametrize(
    ("operator", "value", "other", "expected"),
    [
        ("equals", 5, 5, True),
        ("equals", 5, "5", False),
        ("not_equals", 5, 6, True),
        ("greater_than", "7", 5, True),
        ("greater_than", "x", 5, False),
        ("less_than", 3, "5", True),
        ("greater_equal", 5, 5, True),
        ("less_equal", 6, 5, False),
        ("contains", "hello", "ell", True),
        ("contains", [1, 2], 2, True),
        ("contains", 123, 2, True),
        ("not_contains", "hello", "z", True),
        ("starts_with", "hello", "he", True),
        ("ends_with", "hello", "lo", True),
        ("matches_regex", "abc123", r"\d+$", True),
        ("matches_regex", "abc", "(?=x)", False),
        ("in_list", "a", ["a", "b"], True),
        ("in_list", "a", "a", True),
        ("not_in_list", "c", ["a", "b"], True),
        ("is_empty", "", None, True),
        ("is_empty", None, None, True),
        ("is_empty", 0, None, False),
        ("is_not_empty", [1], None, True),
        ("equals", "it's \\ \n", "it's \\ \n", True),
    ],
)
def test_a_condition_takes_one_of_its_ports(operator: str, value: Any, other: Any, expected: bool):
    document = graph(
        "t > c", "c.true > yes", "c.false > no",
        c=node("condition_if", condition=[rule("x", operator, other)]), yes=chat("yes"), no=chat("no"),
    )  # fmt: skip

    assert messages(run(document, {"x": value})) == ["yes" if expected else "no"]


def test_rules_are_joined_with_and_unless_they_say_otherwise():
    rules = [
        rule("user.age", "greater_than", 17),
        {"operator": "or", "value": [rule("vip", "equals", True), rule("points", "greater_than", "{{limit}}")]},
        {"operator": "not", "value": rule("my-flag", "equals", "off")},
    ]
    document = graph("t > c", "c.true > yes", c=node("condition_if", condition=rules), yes=chat("yes"))

    played = run(document, {"user": {"age": 20}, "points": 11, "limit": 10, "my-flag": "on"})

    assert messages(played) == ["yes"]


@pytest.mark.parametrize(
    ("value", "expected"), [("1", ["one"]), (1, ["one"]), ("2", ["one"]), ("9", ["other"]), (None, ["other"])]
)
def test_a_switch_takes_the_port_of_its_case(value: Any, expected: list[str]):
    document = graph(
        "t > s", "s.first > one", "s.default > other",
        s=node("condition_switch", variable="x", cases={"1": "first", "2": "first", "3": "third"}),
        one=chat("one"), other=chat("other"),
    )  # fmt: skip

    assert messages(run(document, {"x": value})) == expected


def test_a_filter_keeps_what_satisfies_its_rules():
    rules = [rule("item.size", "greater_than", 1), rule("item.name", "not_equals", "c"), rule("on", "equals", True)]
    document = graph("t > f", f=node("condition_filter", input_array="rows", condition=rules, output_variable="big"))
    rows = [{"name": "a", "size": 1}, {"name": "b", "size": 2}, {"name": "c", "size": 3}]

    assert run(document, {"rows": rows, "on": True}).output == {"big": [rows[1]]}


def test_a_filter_of_plain_values():
    document = graph("t > f", f=node("condition_filter", input_array="xs", condition=[rule("item", "greater_than", 1)]))

    assert run(document, {"xs": [1, 2, 3]}).output == {"filtered_items": [2, 3]}


def test_a_module_gets_variables_and_gives_some_back():
    document = graph(
        "t > m", "m.success > say",
        m=module("ai_interaction", input_mapping={"question": "prompt"}, output_mapping={"text": "answer"}),
        say=chat("{{answer}}"),
    )  # fmt: skip

    played = run(document, {"question": "why"}, lambda command: {"text": "because"} if command.node == "m" else {})

    assert played.performed[0] == ("m", {"prompt": "why"})
    assert messages(Played(played.state, played.performed[1:])) == ["because"]


def test_a_webhook_is_a_request_with_retries():
    document = graph(
        "t > w",
        w=node(
            "action_webhook", url="https://example.org/{{id}}", method="PUT", headers={"X-A": "{{id}}"},
            body_template='{"id": {{id}}}', output_variable="answer", retry_count=2, timeout_seconds=5,
        ),
    )  # fmt: skip
    tried: list[int] = []

    def act(command: Any) -> Any:
        tried.append(command.attempt)
        if command.attempt < 3:
            raise Fails("503")
        return {"status": 200, "body": {"ok": True}}

    played = run(document, {"id": 7}, act)

    assert played.performed[0] == (
        "w",
        {"method": "PUT", "url": "https://example.org/7", "headers": {"X-A": "7"}, "body": '{"id": 7}'},
    )
    assert (tried, played.output) == ([1, 2, 3], {"answer": {"ok": True}})


def test_browser_sources_delays_and_private_messages():
    document = graph(
        "t > b", "b > d", "d > e", "e > p",
        b=node("action_browser_source", source_type="ticker", content_template="Hi {{n}}"),
        d=node("action_delay", delay_ms=1500), e=node("action_delay", delay_variable="ms"),
        p=chat("psst", destination="user_pm", user_id="{{n}}"),
    )  # fmt: skip

    played = run(document, {"n": "ann", "ms": 10})

    assert played.performed[0][1]["content"] == "Hi ann"
    assert played.performed[1][1]["target_user_id"] == "ann"


def test_variables_are_set_read_and_transformed():
    document = graph(
        "t > s", "s > g", "g > j", "j > p",
        s=put(n=1, text="{{user.name}}!", whole="{{user}}", braces="{% x %}"),
        g=node("data_variable_get", variable_name="nope", output_variable="got", default_value=[1]),
        j=node("data_transform", transformations={"first": ".user.tags[0]", "all": "."}),
        p=node("data_transform", expression_language="python", transformations={"twice": "n * 2", "size": "len(text)"}),
    )  # fmt: skip

    output = run(document, {"user": {"name": "ann", "tags": ["x"]}}).output

    assert output["text"] == "ann!"
    assert (output["whole"]["name"], output["got"], output["first"], output["twice"], output["size"]) == (
        "ann",
        [1],
        "x",
        2,
        4,
    )
    assert output["braces"] == "{% x %}"


def test_a_loop_over_a_list_runs_its_body_for_each_element():
    document = graph(
        "t > each", "each.loop > say", "each.exit > done",
        each=node("loop_foreach", array_variable="users", item_variable="user"),
        say=chat("{{index}}: {{user.name}}"), done=chat("done"),
    )  # fmt: skip

    played = run(document, {"users": [{"name": "ann"}, {"name": "bob"}]})

    assert messages(played) == ["0: ann", "1: bob", "done"]


def test_an_empty_list_goes_straight_to_the_exit():
    document = graph(
        "t > each", "each.loop > say", "each.exit > done",
        each=node("loop_foreach", array_variable="users"), say=chat("no"), done=chat("done"),
    )  # fmt: skip

    assert messages(run(document, {"users": []})) == ["done"]


def test_loops_inside_loops_begin_anew():
    document = graph(
        "t > outer", "outer.loop > inner", "inner.loop > say", "inner.exit > after", "after > outer",
        outer=node("loop_foreach", array_variable="xs", item_variable="x", index_variable="i"),
        inner=node("loop_foreach", array_variable="ys", item_variable="y", index_variable="j"),
        say=chat("{{x}}{{y}}"), after=chat("-"),
    )  # fmt: skip

    assert messages(run(document, {"xs": ["a", "b"], "ys": [1, 2]})) == ["a1", "a2", "-", "b1", "b2", "-"]


def test_a_loop_can_be_broken():
    document = graph(
        "t > each", "each.loop > check", "check.continue > say", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), done=chat("done"),
        check=node("loop_break", break_condition=[rule("item", "equals", 2)]), say=chat("{{item}}"),
    )  # fmt: skip

    assert messages(run(document, {"xs": [1, 2, 3]})) == ["1", "done"]


def test_a_break_without_condition_always_breaks():
    document = graph(
        "t > each", "each.loop > say", "say > stop", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), stop=node("loop_break"), say=chat("once"), done=chat("done"),
    )  # fmt: skip

    assert messages(run(document, {"xs": [1, 2, 3]})) == ["once", "done"]


def test_a_while_loop_repeats_as_long_as_its_condition_holds():
    document = graph(
        "t > again", "again.loop > more", "more > say", "say > again", "again.exit > done",
        again=node("loop_while", condition=[rule("n", "less_than", 3)], max_iterations=10),
        more=node("data_transform", expression_language="python", transformations={"n": "n + 1"}),
        say=chat("{{n}} times"), done=chat("done"),
    )  # fmt: skip
    document["global_variables"] = {"n": 0}

    assert messages(run(document)) == ["1 times", "2 times", "3 times", "done"]


def test_a_loop_beyond_its_limit_fails():
    document = graph(
        "t > again", "again.loop > say",
        again=node("loop_while", condition=[rule("n", "equals", 1)], max_iterations=3), say=chat("x"),
    )  # fmt: skip

    played = run(document, {"n": 1})

    assert (played.status, len(played.performed)) == ("failed", 3)


def test_what_has_no_elements_cannot_be_looped_over():
    document = graph("t > each", "each.loop > say", each=node("loop_foreach", array_variable="n"), say=chat("x"))

    assert run(document, {"n": 5}).status == "failed"


def test_a_branch_of_a_body_that_leads_nowhere_starts_the_next_round():
    document = graph(
        "t > each", "each.loop > c", "c.true > say", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), c=node("condition_if", condition=[rule("item", "greater_than", 1)]),
        say=chat("got {{item}}"), done=chat("done"),
    )  # fmt: skip

    assert messages(run(document, {"xs": [1, 2, 1, 3]})) == ["got 2", "got 3", "done"]


def test_a_failed_node_ends_its_path_only():
    document = graph(
        "t > p", "p > a", "p > b", "a > after", "b > fine",
        p=node("flow_parallel"), a=module("bad"), b=chat("b"), after=chat("after"), fine=chat("fine"),
    )  # fmt: skip

    def act(command: Any) -> Any:
        if command.node == "a":
            raise Fails("broken")
        return {}

    played = run(document, act=act)

    assert (played.status, played.order) == ("completed", ["a", "b", "fine"])


def test_an_error_port_handles_a_failure():
    document = graph("t > a", "a.success > ok", "a.error > sorry", a=module("bad"), ok=chat("ok"), sorry=chat("sorry"))

    def act(command: Any) -> Any:
        if command.node == "a":
            raise Fails("broken")
        return {}

    assert run(document, act=act).order == ["a", "sorry"]


def test_a_failure_inside_a_loop_goes_on_with_the_next_element():
    document = graph(
        "t > each", "each.loop > a", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), a=module("bad"), done=chat("done"),
    )  # fmt: skip

    def act(command: Any) -> Any:
        if command.node == "a":
            raise Fails("broken")
        return {}

    assert run(document, {"xs": [1, 2]}, act).order == ["a", "a", "done"]


def test_failed_nodes_are_retried_when_the_workflow_says_so():
    document = graph("t > a", a=module("bad"))
    document["metadata"] |= {"retry_failed_nodes": True, "max_retries": 2, "max_execution_time_seconds": 60}

    def act(_command: Any) -> Any:
        raise Fails("broken")

    played = run(document, act=act)

    assert played.order == ["a", "a", "a"]
    assert compile_definition(document).graph.limits == {"workflow_timeout_s": 60}


def test_a_merge_waits_for_every_parallel_branch():
    document = graph(
        "t > p", "p > a", "p > b", "a > m", "b > m", "m > done",
        p=node("flow_parallel"), a=chat("a"), b=chat("b"), m=node("flow_merge"), done=chat("done"),
    )  # fmt: skip

    assert run(document).order == ["a", "b", "done"]


@pytest.mark.parametrize("x", [1, 2])
def test_a_merge_of_two_arms_of_a_condition_waits_for_one(x: int):
    document = graph(
        "t > c", "c.true > a", "c.false > b", "a > m", "b > m", "m > done",
        c=node("condition_if", condition=[rule("x", "equals", 1)]),
        a=chat("a"), b=chat("b"), m=node("flow_merge"), done=chat("done"),
    )  # fmt: skip

    assert run(document, {"x": x}).order == ["a" if x == 1 else "b", "done"]


@pytest.mark.parametrize("x", [1, 2])
def test_a_merge_of_a_branch_with_a_condition_and_one_without_waits_for_two(x: int):
    document = graph(
        "t > p", "p > c", "p > z", "c.true > a", "c.false > b", "a > m", "b > m", "z > m", "m > done",
        p=node("flow_parallel"), c=node("condition_if", condition=[rule("x", "equals", 1)]), z=chat("z"),
        a=chat("a"), b=chat("b"), m=node("flow_merge"), done=chat("done"),
    )  # fmt: skip

    played = run(document, {"x": x})

    assert (played.order[-1], len(played.order), played.status) == ("done", 3, "completed")


def test_any_first_goes_on_with_the_first_branch():
    document = graph(
        "t > p", "p > a", "p > b", "a > m", "b > m", "m > done",
        p=node("flow_parallel", execution_type="any_first"), a=chat("a"), b=chat("b"), m=node("flow_merge"),
        done=chat("done"),
    )  # fmt: skip

    assert run(document).order.count("done") == 1


def test_a_node_that_is_no_merge_runs_once_for_each_path():
    document = graph(
        "t > p", "p > a", "p > b", "a > c", "b > c", p=node("flow_parallel"), a=chat("a"), b=chat("b"), c=chat("c")
    )

    assert sorted(run(document).order) == ["a", "b", "c", "c"]


def test_parallel_branches_of_a_loop_that_meet_are_fine():
    document = graph(
        "t > each", "each.loop > p", "p > a", "p > b", "a > m", "b > m", "m > say", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), p=node("flow_parallel"), a=chat("a"), b=chat("b"),
        m=node("flow_merge"), say=chat("{{item}}."), done=chat("done"),
    )  # fmt: skip

    assert messages(run(document, {"xs": [1, 2]})) == ["a", "b", "1.", "a", "b", "2.", "done"]


def test_a_connection_may_have_a_condition():
    document = graph("t > a", "a > b", "a > c", "a > d", a=chat("a"), b=chat("b"), c=chat("c"), d=chat("d"))
    document["connections"][1]["conditional"] = "n > 5"
    document["connections"][2]["conditional"] = [rule("n", "less_than", 5)]

    assert run(document, {"n": 7}).order == ["a", "d", "b"] or run(document, {"n": 7}).order == ["a", "b", "d"]


def test_disabled_nodes_and_connections_are_left_out_with_what_only_they_lead_to():
    document = graph(
        "t > a", "a > b", "b > c", "a > d", a=chat("a"), b=chat("b", enabled=False), c=chat("c"), d=chat("d")
    )
    document["connections"].append({**link("a > c"), "enabled": False})

    compiled = compile_definition(document)

    assert set(compiled.graph.nodes) == {"a", "d"}
    assert ("unreachable_task", "c") in [(warning.code, warning.task) for warning in compiled.warnings]


def test_a_graph_may_begin_with_a_loop_that_is_entered_again():
    document = graph(
        "t > again", "again.loop > more", "more > again",
        again=node("loop_while", condition=[rule("n", "less_than", 2)]),
        more=node("data_transform", expression_language="python", transformations={"n": "n + 1"}),
    )  # fmt: skip
    document["global_variables"] = {"n": 0}

    assert run(document).output == {"n": 2}


def test_triggers_are_kept_but_not_run():
    warnings = compile_definition(graph("t > a", a=chat("a"))).warnings

    assert [(warning.code, warning.task) for warning in warnings] == [("TRIGGER_NOT_RUN", "t")]


def test_position_label_and_metadata_stay_with_a_node():
    compiled = compile_definition(graph("t > a", a=chat("a", metadata={"color": "red"})))

    assert compiled.graph.nodes["a"].labels == {
        "label": "L", "position": {"x": 1, "y": 2}, "metadata": {"color": "red"}, "node_type": "action_chat_message",
    }  # fmt: skip


def test_secrets_reach_actions_as_references():
    document = graph("t > w", w=node("action_webhook", url="https://x.org", headers={"A": "Bearer {{secrets.T}}"}))

    compiled = compile_definition(document)

    assert compiled.errors == ()
    assert compiled.graph.nodes["w"].input.secrets == {"T"}


def only(kind: str, **config: Any) -> list[tuple[str, str]]:
    """The problems of a graph with one node of that kind."""
    found = problems(graph("t > x", x=node(kind, **config)))
    return [(code, path.removeprefix("nodes.x.")) for code, path in found]


@pytest.mark.parametrize(
    ("kind", "config", "keys"),
    [
        (
            "trigger_command",
            {"cooldown_seconds": -1, "platforms": []},
            ["command_pattern", "platforms", "cooldown_seconds"],
        ),
        ("trigger_event", {}, ["event_type", "platforms"]),
        ("trigger_webhook", {"webhook_path": "x"}, ["webhook_path"]),
        ("trigger_schedule", {"cron_expression": "every day"}, ["cron_expression"]),
        ("condition_if", {}, ["condition"]),
        ("condition_if", {"condition": "x > 1"}, ["condition"]),
        ("condition_if", {"condition": ["x"]}, ["condition"]),
        ("condition_if", {"condition": [{"variable": " ", "operator": "equals"}]}, ["condition"]),
        ("condition_if", {"condition": [rule("x", "is_like", 1)]}, ["condition"]),
        ("condition_if", {"condition": [rule("x", "equals", "eval(1)")]}, ["condition"]),
        ("condition_switch", {}, ["variable", "cases"]),
        ("condition_filter", {}, ["input_array", "condition"]),
        (
            "action_module",
            {"timeout_seconds": 0, "input_mapping": []},
            ["module_name", "timeout_seconds", "input_mapping"],
        ),
        ("action_webhook", {"url": "ftp://x", "method": "GO", "retry_count": "2"}, ["url", "method", "retry_count"]),
        ("action_webhook", {"url": "{{u}}", "body_template": "__import__"}, ["body_template"]),
        ("action_chat_message", {"destination": "nowhere"}, ["message_template", "destination"]),
        ("action_chat_message", {"message_template": "x", "destination": "specified_channel"}, ["channel_id"]),
        ("action_chat_message", {"message_template": "x", "destination": "user_pm"}, ["user_id"]),
        (
            "action_browser_source",
            {"source_type": "x", "action": "y", "duration": 0},
            ["source_type", "action", "duration"],
        ),
        ("action_delay", {"delay_ms": -1}, ["delay_ms"]),
        ("data_transform", {"expression_language": "perl"}, ["expression_language", "transformations"]),
        ("data_transform", {"transformations": {"a": ".x | map(.y)"}}, ["transformations.a"]),
        ("data_transform", {"transformations": {"a": "os.system"}, "expression_language": "js"}, ["transformations.a"]),
        ("data_variable_set", {"scope": "galaxy"}, ["variables", "scope"]),
        ("data_variable_get", {}, ["variable_name", "output_variable"]),
        ("loop_foreach", {"max_iterations": 0}, ["array_variable", "max_iterations"]),
        ("loop_while", {"max_iterations": 20_000}, ["condition", "max_iterations"]),
        ("flow_merge", {"input_ports_required": 0}, ["input_ports_required"]),
        ("flow_parallel", {"execution_type": "slow", "timeout_seconds": -1}, ["execution_type", "timeout_seconds"]),
    ],
)
def test_each_node_type_says_what_it_needs(kind: str, config: dict, keys: list[str]):
    assert [path for code, path in only(kind, **config) if code == "bad_config"] == keys


@pytest.mark.parametrize("expression", ["0 */6 * * *", "*/5 1-5,8 * JAN MON-FRI", "0 0 12 * * ?"])
def test_schedules_are_cron_expressions(expression: str):
    assert only("trigger_schedule", cron_expression=expression) == [("trigger_target", "connections[0]")]


def broken(**changes: Any) -> list[tuple[str, str]]:
    return problems({**graph("t > a", a=chat("x")), **changes})


def test_the_shape_of_a_document_is_checked():
    assert broken(nodes=[], connections=[]) == [("no_tasks", "nodes")]
    assert broken(nodes=5, connections=[]) == [("wrong_type", "nodes")]
    assert broken(metadata=[], global_variables=3, extra=1) == [
        ("unknown_key", "extra"), ("wrong_type", "metadata"), ("wrong_type", "global_variables"),
    ]  # fmt: skip
    assert broken(connections={}) == [("wrong_type", "connections")]
    assert broken(connections=["x", link("t > a")]) == [("wrong_type", "connections[0]")]
    assert ("wrong_type", "nodes.b") in broken(nodes={"a": chat("x"), "b": 5})
    assert ("unknown_node_type", "nodes.b") in broken(nodes={"a": chat("x"), "b": {"node_type": "action_dance"}})
    assert ("wrong_id", "nodes.b.node_id") in broken(nodes={"a": chat("x"), "b": {**chat("y"), "node_id": "c"}})
    assert ("reserved_name", "nodes.b:c") in broken(nodes={"a": chat("x"), "b:c": chat("y")})


def test_nodes_may_be_a_list():
    document = {
        "dialect": "nodes",
        "nodes": [{"node_id": "a", **chat("x")}, {"id": "a", **chat("y")}],
        "connections": [],
    }

    assert problems(document) == [("duplicate_task", "nodes[1]")]


def test_connections_join_known_nodes_by_known_ports():
    ports = {
        "output_ports": [{"name": "out", "data_type": "string"}],
        "input_ports": [{"name": "in", "data_type": "number"}],
    }
    document = graph("t > a", "a.outt > b", "a > nobody", "a > t", a=chat("x", **ports), b=chat("y", **ports))
    document["connections"].append({**link("a.out > b"), "to_port_name": "in"})

    compiled = compile_definition(document)

    assert [(problem.code, problem.path) for problem in compiled.errors] == [
        ("unknown_port", "connections[0].to_port_name"),
        ("unknown_port", "connections[1].from_port_name"),
        ("unknown_port", "connections[1].to_port_name"),
        ("unknown_target", "connections[2].to_node_id"),
        ("unknown_port", "connections[3].from_port_name"),
        ("trigger_target", "connections[3]"),
    ]
    assert ("port_types", "connections[4]") in [(warning.code, warning.path) for warning in compiled.warnings]


@pytest.mark.parametrize(
    ("links", "nodes", "code"),
    [
        (["t > a", "a > b", "b > a"], {"a": chat("a"), "b": chat("b")}, "cycle"),
        (["t > a"], {"a": node("loop_break")}, "break_outside_loop"),
        ([], {"a": chat("a")}, "no_start_task"),
        (["t > a", "a > m"], {"a": chat("a"), "m": node("flow_merge", input_ports_required=3)}, "unreachable_join"),
        (["t > f", "f.loop > a", "f.loop > b"], {"f": node("loop_foreach", array_variable="x"), "a": chat("a"), "b": chat("b")}, "loop_branches"),
        (["t > a"], {"a": node("data_transform", transformations={"x": "a +"}, expression_language="js")}, "bad_expression"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(links: list[str], nodes: dict, code: str):
    assert code in [found for found, _ in problems(graph(*links, **nodes))]


def test_doubtful_things_are_warnings():
    document = {"dialect": "nodes", "nodes": {f"n{i}": chat("x") for i in range(101)}, "connections": []}
    document["nodes"]["s"] = node("data_variable_set", variables={"a": 1}, scope="global")
    document["nodes"]["p"] = node("flow_parallel", timeout_seconds=5)

    warnings = {warning.code for warning in compile_definition(document).warnings}

    assert {"many_nodes", "no_trigger", "scope_widened", "timeout_not_applied"} <= warnings


def test_ids_that_mean_something_else_get_an_underscore():
    played = run(graph("t > noop", "noop > end", noop=chat("a"), end=node("flow_end")))

    assert (played.order, played.status) == (["noop_"], "completed")


def test_two_triggers_may_lead_to_the_same_node():
    document = graph("t > a", "t2 > a", a=chat("a"), t2=node("trigger_webhook", webhook_path="/x"))

    assert run(document).order == ["a"]


def test_many_paths_that_meet_are_not_compared():
    branches = {f"b{i}": chat("b") for i in range(17)}
    links = [f"p > {name}" for name in branches] + [f"{name} > m" for name in branches]

    played = run(
        graph("t > p", *links, "m > done", p=node("flow_parallel"), m=node("flow_merge"), done=chat("d"), **branches)
    )

    assert (played.order[-1], len(played.order)) == ("done", 18)


def test_rules_and_bodies_may_hold_objects_and_lists():
    document = graph(
        "t > s", "s > c", "c.true > w",
        s=node("data_variable_set", variables={"found": {"a": ["{{n}}", 1]}}),
        c=node("condition_if", condition=[rule("found", "equals", {"a": [5, 1]})]),
        w=node("action_webhook", url="https://x.org", body_template="{{found}}"),
    )  # fmt: skip

    assert run(document, {"n": 5}).performed[0][1]["body"] == {"a": [5, 1]}


def test_a_body_whose_only_way_on_has_a_condition_goes_on_with_the_next_round():
    document = graph(
        "t > each", "each.loop > a", "a > b", "each.exit > done",
        each=node("loop_foreach", array_variable="xs"), a=module("one"), b=chat("{{item}}"), done=chat("done"),
    )  # fmt: skip
    document["connections"][2]["conditional"] = "item > 1"

    assert run(document, {"xs": [1, 2, 1]}).order == ["a", "a", "b", "a", "done"]


def test_a_condition_of_a_connection_sees_what_the_node_has_set():
    document = graph(
        "t > a", "a > b", "a > c", a=module("one", output_mapping={"x": "got"}), b=chat("{{got}}"), c=chat("no")
    )
    document["connections"][1]["conditional"] = "got == 1"
    document["connections"][2]["conditional"] = "got == 2"

    played = run(document, act=lambda _: {"x": 1})

    assert (played.order, played.output) == (["a", "b"], {"got": 1})


def test_paths_from_two_starts_may_both_be_taken():
    document = graph(
        "t > a", "t > b", "a > m", "b > m", "m > done", a=chat("a"), b=chat("b"), m=node("flow_merge"), done=chat("d")
    )

    assert sorted(run(document).order) == ["a", "b", "done"]
