"""What `pip install .` installs is the whole server: it runs from an empty folder, far from the checkout."""

import shutil
import subprocess
import sys
import urllib.request
import zipfile

import pytest

from tests.support.server import ROOT, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WHEEL = (
    "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--wheel-dir", "made",
)  # fmt: skip


@pytest.fixture
def installed(tmp_path):
    """A folder with the files of the wheel, made from a copy of what the repository holds."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in files:
        if name.endswith((".py", ".sql", ".toml", ".md")) or "/static/" in name:
            copy = tmp_path / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
    subprocess.run([sys.executable, "-m", *WHEEL, "./source"], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "made").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    return tmp_path / "installed"


def test_installed_server_migrates_and_serves_its_page(installed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()

    with running(tmp_path / "data", {"PYTHONPATH": str(installed), "PACKS_DIR": "packs"}, cwd=empty) as server:
        for path in ("/ready", "/docs", "/docs/assets/swagger-ui-bundle.js"):
            with urllib.request.urlopen(server.url + path, timeout=30) as answer:
                assert answer.status == 200
                assert answer.read()
