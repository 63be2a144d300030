"""The synchronous calls of the run logger's document; its test names and one-liners are here."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.history.record import text_of
from services.langgraph.hooks import run_logger
from services.langgraph.hooks.run_logger import generate_embedding, get_runs_by_wpk_id, log_run, upsert_to_milvus
from tests.support.embedding_server import embed, embedding_server

ROOT = Path(__file__).parents[3]
SAMPLE = {
    "wpk_id": "test", "run_id": "r1", "inputs": {}, "outputs": {"text": "ok"}, "status": "completed", "node_logs": [],
    "duration_ms": 123,
}  # fmt: skip
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def environment(database_engine, database_url, tmp_path, monkeypatch):
    for name in ("POSTGRES_DSN", "DATABASE_URL", "OPENAI_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "MILVUS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    if database_engine == "postgres":
        monkeypatch.setenv("POSTGRES_DSN", database_url)
    yield
    run_logger._close()


def test_log_run_success():
    assert log_run(SAMPLE) == "r1"


def test_log_run_missing_required_field():
    with pytest.raises(ValueError, match="Missing required field: status"):
        log_run({"wpk_id": "test", "run_id": "r1"})


def test_log_run_minimal_data():
    assert log_run({"wpk_id": "test", "run_id": "r2", "status": "running"}) == "r2"


def test_get_runs_by_wpk_id():
    log_run({**SAMPLE, "created_at": "2024-01-15T10:00:00Z"})

    assert get_runs_by_wpk_id("test") == [("r1", "completed", 123, datetime(2024, 1, 15, 10, tzinfo=UTC))]


def test_get_runs_by_wpk_id_empty():
    assert get_runs_by_wpk_id("nobody") == []


def test_get_runs_by_wpk_id_pagination():
    for n in range(5):
        log_run({**SAMPLE, "run_id": f"r{n}", "created_at": f"2024-01-15T10:00:0{n}Z"})

    assert [run[0] for run in get_runs_by_wpk_id("test", limit=2, offset=1)] == ["r3", "r2"]


def test_generate_embedding_no_key():
    assert generate_embedding("hello") is None


def test_generate_embedding_with_key(monkeypatch):
    with embedding_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        vector = generate_embedding("hello")

    assert vector == pytest.approx(embed("hello"))


def test_upsert_to_milvus_no_endpoint():
    assert upsert_to_milvus(SAMPLE, [1.0, 0.0]) is False


def test_upsert_to_milvus_success(monkeypatch, tmp_path):
    monkeypatch.setenv("MILVUS_ENDPOINT", str(tmp_path / "vectors.db"))
    log_run(SAMPLE)

    assert upsert_to_milvus(SAMPLE, embed("ok")) is True


def test_upsert_to_milvus_of_a_run_that_was_never_logged(monkeypatch, tmp_path):
    monkeypatch.setenv("MILVUS_ENDPOINT", str(tmp_path / "vectors.db"))

    with pytest.raises(KeyError, match="r1"):
        upsert_to_milvus(SAMPLE, embed("ok"))


def test_log_run_with_embedding_integration(monkeypatch, tmp_path):
    with embedding_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MILVUS_ENDPOINT", str(tmp_path / "vectors.db"))
        run_id = log_run(SAMPLE)

        stored = upsert_to_milvus(SAMPLE, generate_embedding(text_of(SAMPLE["outputs"])))

    assert (run_id, stored) == ("r1", True)


def test_database_fallback_logging(monkeypatch, tmp_path):
    monkeypatch.delenv("POSTGRES_DSN", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "elsewhere"))

    log_run(SAMPLE)

    assert (tmp_path / "elsewhere" / "millrace.db").exists()


LINES = {
    "package": "from services.langgraph.hooks.run_logger import log_run; print(log_run({'wpk_id':'test','run_id':'r1',"
    "'inputs':{},'outputs':{'text':'ok'},'status':'completed','node_logs':[],'duration_ms':123}))",
    "path": "import sys; sys.path.append('services/langgraph/hooks')\nfrom run_logger import log_run\n"
    "print('Run ID:', log_run({'wpk_id': 'test-workflow', 'run_id': 'verification-run', 'status': 'completed',"
    " 'duration_ms': 1000}))",
    "read": "import sys; sys.path.append('services/langgraph/hooks')\nfrom run_logger import get_runs_by_wpk_id\n"
    "print('Runs for test-workflow:', get_runs_by_wpk_id('test-workflow'))",
}
SAID = {"package": "r1", "path": "Run ID: verification-run", "read": "Runs for test-workflow: []"}


@pytest.mark.parametrize("name", LINES)
def test_the_documents_one_liners_print_what_they_say(name):
    done = subprocess.run([sys.executable, "-c", LINES[name]], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.returncode) == (SAID[name], 0), done.stderr


def test_the_hook_works_from_another_folder(tmp_path):
    code = (
        f"import sys; sys.path.append({str(ROOT / 'services/langgraph/hooks')!r})\n" + LINES["path"].split("\n", 1)[1]
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == SAID["path"], done.stderr
