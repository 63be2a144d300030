"""The helper process: started on need, gone when idle, survived when it dies; and `store_signal` without a server."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.errors import BadRequest, Unavailable
from services.insight.helper import Helper
from services.insight.sources import Fetched, RawSeries
from services.insight.store import store_signal

ROOT = Path(__file__).parents[3]
SERIES = Fetched(
    source="local", series=[RawSeries("m", {}, [60.0 * n for n in range(80)], [float(n % 5) for n in range(80)])]
)


@pytest.fixture
async def helper():
    made = Helper(idle_s=0.05)
    yield made
    await made.stop()


async def ended(pid):
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            await asyncio.sleep(0.01)


async def test_a_job_runs_elsewhere_and_the_process_ends_when_it_is_idle(helper):
    [judged] = await helper.call("probe", "zscore", SERIES)
    pid = helper.process_id or 0

    await asyncio.sleep(0.06)
    await ended(pid)

    assert judged.points == 80
    assert helper.process_id is None


async def test_the_server_does_not_load_numpy_for_a_probe():
    program = (
        "import asyncio, sys\n"
        "from services.insight.insight import Insight\n"
        "from services.insight.helper import Helper\n"
        "from services.insight.sources import Fetched, RawSeries\n"
        "async def main():\n"
        "    helper = Helper()\n"
        "    one = RawSeries('m', {}, [1.0, 2.0], [1.0, 2.0])\n"
        "    await helper.call('probe', 'auto', Fetched(source='local', series=[one]))\n"
        "    await helper.stop()\n"
        "asyncio.run(main())\n"
        "print('numpy' in sys.modules)\n"
    )

    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )

    assert (result.stdout.strip(), result.returncode) == ("False", 0), result.stderr


async def test_a_job_whose_process_dies_is_unavailable_and_the_next_one_works(helper):
    await helper.call("probe", "zscore", SERIES)
    helper._timer.cancel()
    os.kill(helper.process_id, signal.SIGKILL)

    with pytest.raises(Unavailable):
        await helper.call("probe", "zscore", SERIES)

    assert len(await helper.call("probe", "zscore", SERIES)) == 1


async def test_what_a_job_refuses_is_refused_here_in_its_words(helper):
    with pytest.raises(BadRequest, match="no range of values"):
        await helper.call("probe", "zscore", Fetched(source="prometheus", prometheus=b"[]"))


def test_the_documented_script_stores_a_signal_without_a_server(tmp_path):
    program = (
        "import sys; sys.path.append('services/insight-engine'); from server import store_signal; "
        "print('Signal ID:', store_signal('cpu_usage', 0.85, 2.3, 'Test anomaly'))"
    )
    environ = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Signal ID: 0")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_signal_that_is_no_number_is_refused(bad, tmp_path):
    from services.errors import Invalid

    with pytest.raises(Invalid):
        store_signal("m", bad, 1.0, database_url=f"sqlite:///{tmp_path}/x.db")


async def test_a_signal_is_stored_from_within_a_running_loop(database_url, db):
    made = store_signal("cpu_usage", 0.85, 2.3, "Test anomaly", database_url=database_url)

    [row] = await db(db.insight_signals.score > 0).select()
    assert (str(row.id), row.metric, row.value, row.hint) == (made, "cpu_usage", 0.85, "Test anomaly")
