"""Workflow packages: handlers in sequence, dry run, approval, rollback."""

from typing import Any

import pytest

from services.engine.compile import compile_definition
from tests.unit.play import Fails, Played, play


def handler(name: str, kind: str = "k8s", **more: Any) -> dict:
    return {"name": name, "type": kind, "config": {"action": name}, **more}


def package(*handlers: dict, mode: str = "auto", **spec: Any) -> dict:
    safety = {"mode": mode, **spec.pop("safety", {})}
    return {
        "apiVersion": "v1",
        "kind": "WorkflowPackage",
        "metadata": {"name": "restart", "version": "1.0.0", "description": "d", "author": "a", "tags": ["x"]},
        "spec": {"runtime": {"type": "k8s"}, "safety": safety, "handlers": list(handlers), **spec},
    }


def run(document: dict, act: Any = lambda _: {}, answer: Any = None, parameters: dict | None = None) -> Played:
    compiled = compile_definition(document)
    assert compiled.errors == (), compiled.errors
    return play(compiled.graph, parameters, act, answer)


def failing(*names: str) -> Any:
    def act(command: Any) -> Any:
        if command.node in names:
            raise Fails("broken")
        return {"done": command.node}

    return act


def test_handlers_run_one_after_the_other():
    played = run(package(handler("collect-logs"), handler("restart")), failing())

    assert played.performed == [("collect_logs", {"action": "collect-logs"}), ("restart", {"action": "restart"})]
    assert (played.status, played.output) == (
        "completed",
        {"collect_logs": {"done": "collect_logs"}, "restart": {"done": "restart"}},
    )


def test_a_failure_ends_the_package_when_there_is_no_rollback():
    played = run(package(handler("a"), handler("b")), failing("a"))

    assert (played.order, played.status) == (["a"], "failed")


def test_a_failure_is_followed_by_the_rollback():
    rollback = {"enabled": True, "handlers": [handler("undo-b"), handler("undo-a")]}

    played = run(package(handler("a"), handler("b"), rollback=rollback), failing("b", "undo_b"))

    assert (played.order, played.status) == (["a", "b", "undo_b", "undo_a"], "failed")
    assert played.state.failure.message == "b failed; the rollback was run."


@pytest.mark.parametrize(
    ("rollback", "safety"),
    [
        ({"enabled": False, "handlers": [handler("undo")]}, {}),
        ({"handlers": [handler("undo")]}, {"rollback_enabled": False}),
    ],
)
def test_a_rollback_can_be_switched_off(rollback: dict, safety: dict):
    assert run(package(handler("a"), rollback=rollback, safety=safety), failing("a")).order == ["a"]


def test_attempts_are_counted_with_the_first():
    document = package(handler("a", retry={"max_attempts": 3, "backoff": "5s"}, timeout="2m"))

    played = run(document, failing("a"))
    node = compile_definition(document).graph.nodes["a"]

    assert played.order == ["a", "a", "a"]
    assert (node.timeout.source, node.retry.delay.source, node.retry.count.source) == (120, 5, 2)


def test_a_manual_package_asks_before_it_does_anything():
    document = package(handler("a"), mode="manual", safety={"approvers": {"roles": ["ops"]}})

    waiting = run(document)
    approved = run(document, answer={"approved": True})
    refused = run(document, answer={"approved": False})

    assert (waiting.order, waiting.asked[0].input["assignees"]) == ([], {"roles": ["ops"]})
    assert (approved.order, approved.status) == (["a"], "completed")
    assert (refused.order, refused.status) == ([], "failed")
    assert refused.state.failure.message == "The run was not approved."


def test_approval_can_be_waived_or_demanded():
    assert run(package(handler("a"), mode="manual", safety={"approval_required": False})).order == ["a"]
    assert run(package(handler("a"), mode="auto", safety={"approval_required": True})).order == []


def test_a_dry_run_comes_first():
    document = package(handler("a"), handler("b"), mode="manual", safety={"dry_run_required": True})

    played = run(document, answer={"approved": True})

    assert played.order == ["dry_run_a", "dry_run_b", "a", "b"]
    assert played.performed[0][1] == {"action": "a", "dry_run": True}


def test_a_dry_run_that_fails_stops_everything():
    document = package(handler("a"), safety={"dry_run_required": True}, rollback={"handlers": [handler("undo")]})

    assert run(document, failing("dry_run_a")).order == ["dry_run_a"]


def test_nested_steps_run_in_their_place():
    steps = {"name": "drain", "steps": [handler("cordon"), handler("evict", "shell")]}

    played = run(package(handler("a"), steps, handler("b")))

    assert played.order == ["a", "drain_cordon", "drain_evict", "b"]


def test_names_become_words_that_nobody_else_has():
    played = run(package(handler("a b"), handler("a-b"), handler("1st"), handler("fail"), handler("é")))

    assert played.order == ["a_b", "a_b_2", "_1st", "fail_2", "handler"]


def test_dollar_names_are_secrets_parameters_or_defaults():
    config = {
        "url": "${VAULT}/v1", "app": "${APP}", "level": "${LEVEL:-in'fo}", "list": ["${APP}!", 5],
        "shell": "echo {{ x }} ${APP} {% y %}", "plain": "$HOME",
    }  # fmt: skip
    document = package({"name": "a", "type": "api", "config": config}, parameters={"APP": {"default": "web"}})

    ((_, given),) = run(document, parameters={}).performed

    assert given["url"] == "[secret VAULT]/v1"
    assert (given["app"], given["level"], given["list"]) == ("web", "in'fo", ["web!", 5])
    assert (given["shell"], given["plain"]) == ("echo {{ x }} web {% y %}", "$HOME")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [(["APP"], "shop"), ([{"name": "APP", "default": "x"}], "shop"), ({"APP": "x"}, "shop")],
)
def test_parameters_may_be_declared_in_several_ways(parameters: Any, expected: str):
    document = package({"name": "a", "type": "api", "config": {"app": "${APP}"}}, parameters=parameters)

    assert run(document, parameters={"APP": "shop"}).performed == [("a", {"app": expected})]


def test_triggers_and_alerts_are_kept_with_a_warning():
    document = package(
        handler("a"), triggers=[{"type": "event", "config": {}}, "x"], monitoring={"alerts": [{"type": "slack"}]}
    )

    warnings = compile_definition(document).warnings

    assert [(warning.code, warning.path) for warning in warnings] == [
        ("TRIGGER_NOT_RUN", "spec.triggers[0]"), ("TRIGGER_NOT_RUN", "spec.triggers[1]"),
        ("ALERT_NOT_SENT", "spec.monitoring.alerts"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({"kind": "WorkflowPackage"}, ["apiVersion", "metadata", "spec", "metadata.name", "metadata.version",
                                       "metadata.description", "metadata.author", "spec.runtime", "spec.safety", "spec.handlers"]),
        ({**package(handler("a")), "metadata": 5}, ["metadata", "metadata.name", "metadata.version",
                                                    "metadata.description", "metadata.author"]),
        (package(mode="auto"), ["spec.handlers"]),
        (package(handler("a"), mode="yolo"), ["spec.safety.mode"]),
        (package({"name": "a", "type": "perl"}), ["spec.handlers[0]", "spec.handlers[0].config"]),
        (package({"name": "a", "type": "k8s", "config": "x"}), ["spec.handlers[0].config"]),
        (package({"type": "k8s", "config": {}}, "x"), ["spec.handlers[0].name", "spec.handlers[1]"]),
        (package(handler("a", timeout="soon", retry={"max_attempts": 0, "backoff": "x"})),
         ["spec.handlers[0].timeout", "spec.handlers[0].retry.max_attempts", "spec.handlers[0].retry.backoff"]),
        (package({"name": "s", "steps": "x"}), ["spec.handlers[0].steps"]),
        (package(handler("a"), rollback={"enabled": True}), ["spec.rollback.handlers"]),
        (package(handler("a"), rollback=5, monitoring=5), ["spec.rollback", "spec.monitoring"]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_with_a_package_is_reported(document: dict, paths: list[str]):
    compiled = compile_definition(document)

    assert compiled.graph is None
    assert sorted({problem.path for problem in compiled.errors}) == sorted(set(paths))


def test_a_version_is_three_numbers():
    document = package(handler("a"))
    document["metadata"]["version"] = "1.0"

    assert [problem.path for problem in compile_definition(document).errors] == ["metadata.version"]


def test_a_handler_without_a_value_in_the_configuration_that_cannot_be_read_is_reported():
    document = package({"name": "a", "type": "api", "config": {"x": "${" + "A" * 17_000 + "}"}})

    assert [problem.code for problem in compile_definition(document).errors] == ["bad_expression"]
