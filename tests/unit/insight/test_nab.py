"""The labelled series of the Numenta Anomaly Benchmark: what `auto` reaches is asserted, not remembered."""

import json

import pytest

from bench import nab

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    if not nab.SHARED.joinpath("data/nab/windows.json").exists():
        pytest.skip(f"no labelled series at {nab.SHARED}")
    out = tmp_path_factory.mktemp("nab")
    windows = json.loads(nab.SHARED.joinpath("data/nab/windows.json").read_text())
    inputs = [nab.read(nab.SHARED / "data/nab/data" / name) for name in windows]
    for name, (stamps, values), scores in zip(windows, inputs, nab.stream("auto", inputs), strict=True):
        nab.write(out / name, stamps, values, scores)
    score = nab.scorer(nab.SHARED / "tools/nab_score.py")
    files = score.load(out, nab.SHARED / "data/nab/data", windows, None)
    return {profile: score.best_score(files, profile)[0] for profile in nab.PROFILES}


def test_auto_finds_labelled_incidents_better_than_the_published_detectors(results):
    assert results["standard"] >= 74
    assert results["low_FP"] >= 68
    assert results["low_FN"] >= 78
