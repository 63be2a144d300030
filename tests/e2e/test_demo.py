"""`make demo` runs every example, shows each task, and says when one did not do what it should."""

import subprocess
import sys

import pytest

from tests.support.server import ROOT


@pytest.mark.e2e
def test_the_demo_runs_every_example():
    ran = subprocess.run(
        [sys.executable, "-m", "bench.demo"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in (
        "examples.incident_response: completed",
        "examples.extract_transform_load: completed",
        "examples.health_check: completed",
        "examples.approval: completed",
        "every example did what it should",
    ):
        assert line in ran.stdout
