"""Dashboards and alert rules speak of metrics that exist, and Prometheus understands every expression."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.metrics import Metrics

OPS = Path(__file__).parents[3] / "ops"
BOARDS = sorted((OPS / "grafana").glob("*.json"))
RULES = OPS / "prometheus" / "alerts.yml"
NAME = re.compile(r"\b(?:millrace|process|python)_[a-z_]+")


def known():
    found = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes}
    return found


def expressions(board):
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_shows_metrics_that_the_server_has(path):
    board = json.loads(path.read_text())
    names = {name for expression in expressions(board) for name in NAME.findall(expression)}

    assert names
    assert names <= known()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_dashboard_have_ids_of_their_own_and_do_not_overlap(path):
    panels = json.loads(path.read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)


def test_alerts_speak_of_metrics_that_the_server_has_and_say_what_is_wrong():
    names = {name for rule in rules() for name in NAME.findall(rule["expr"])}

    assert names <= known()
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in {"page", "ticket"} for rule in rules())


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's package prometheus) is not installed")
def test_prometheus_understands_every_rule_and_every_expression_of_the_dashboards(tmp_path):
    everything = [
        {"record": f"check:{path.stem.replace('-', '_')}:{n}", "expr": expression.replace("$instance", ".*")}
        for path in BOARDS
        for n, expression in enumerate(expressions(json.loads(path.read_text())))
    ]
    boards = tmp_path / "boards.yml"
    boards.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": everything}]}))

    result = subprocess.run(["promtool", "check", "rules", RULES, boards], capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's package prometheus) is not installed")
def test_the_error_alert_fires_on_errors_and_not_before(tmp_path):
    def series(status, values):
        return {"series": f'millrace_http_requests_total{{instance="a",status="{status}"}}', "values": values}

    wanted = {
        "severity": "page",
        "instance": "a",
    }
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [series("200", "0+600x30"), series("500", "0x10 0+60x20")],
                "alert_rule_test": [
                    {"eval_time": "10m", "alertname": "MillraceErrors", "exp_alerts": []},
                    {
                        "eval_time": "28m",
                        "alertname": "MillraceErrors",
                        "exp_alerts": [
                            {
                                "exp_labels": wanted,
                                "exp_annotations": {"summary": "9.091% of the requests to a end with a 5xx"},
                            }
                        ],
                    },
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))

    result = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr
