"""Local queries and canonical names of series."""

import pytest

from services.errors import BadRequest
from services.insight.sources import parse_selector, series_key


@pytest.mark.parametrize(
    ("query", "metric", "labels"),
    [
        ("cpu_usage", "cpu_usage", {}),
        (" local:workflow_runs_total{} ", "workflow_runs_total", {}),
        ('local: runs{workflow="a.b", node = "x\\"y"}', "runs", {"workflow": "a.b", "node": 'x"y'}),
    ],
)
def test_a_local_query_is_a_metric_with_labels(query, metric, labels):
    found = parse_selector(query)

    assert (found.metric, found.labels) == (metric, labels)


@pytest.mark.parametrize("query", ["rate(x[5m])", "a{b}", 'a{b="c" d="e"}', "", 'a{b=~"c"}'])
def test_anything_else_is_refused_in_words(query):
    with pytest.raises(BadRequest):
        parse_selector(query)


def test_the_name_of_a_series_does_not_depend_on_the_order_of_its_labels():
    assert series_key("m", {"b": "1", "a": 'x"'}) == series_key("m", {"a": 'x"', "b": "1"}) == 'm{a="x\\"",b="1"}'
