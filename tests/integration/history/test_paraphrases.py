"""How well runs are found by meaning: a labelled set of paraphrases that share hardly a word with what they look for.

The embedding server of the tests knows a table of synonyms and nothing else, so the figure says that the way from the
question to the answer keeps what the model knows; it says nothing about a real model.
"""

from datetime import UTC, datetime, timedelta

import pytest

from models.run_facts import RunFilter, Visible
from services.adapters.openai import OpenAIEmbedder
from services.history.database_vectors import DatabaseVectors
from services.history.outbox import Embeddings, Indexer
from services.history.record import Run
from services.history.runs import RunLog
from services.history.search import RunSearch
from tests.support.embedding_server import embedding_server

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = RunFilter(visible=Visible(everything=True))
LABELLED = {
    "the database refused connections at night": "postgres said no overnight, sql",
    "invoice was settled yesterday": "charged payment bill",
    "disk of the archive is full": "volume space storage exhausted",
    "certificate of the gateway is too old": "tls ssl cert",
    "the email could not be delivered": "mail letter message bounced",
    "host was restarted by the watchdog": "machine rebooted reboot",
    "latency of the search page has doubled": "sluggish slow lag",
    "the import failed at row nine": "crashed crash broke error",
    "user was locked after three attempts": "account client member",
    "backup to the second site is done": "backup elsewhere done",
}


def now() -> datetime:
    return T0 + timedelta(hours=1)


async def recall(search: RunSearch) -> float:
    hits = 0
    for n, question in enumerate(LABELLED.values()):
        found = (await search.search(question, ALL, k=1)).found
        hits += bool(found) and found[0].run.run_id == f"r{n}"
    return hits / len(LABELLED)


@pytest.mark.db
async def test_paraphrases_are_found_by_meaning_and_not_by_words(db):
    with embedding_server() as server:
        embedder = OpenAIEmbedder(key=None, base_url=server.url, model="m")
        store = DatabaseVectors(db)
        runs = [
            Run(wpk_id="w-1.0.0", run_id=f"r{n}", status="completed", outputs={"text": text})
            for n, text in enumerate(LABELLED)
        ]
        await RunLog(db, now).log(runs, source="langgraph")
        for worker in (Indexer(db, now, embed=True), Embeddings(db, embedder, store, now)):
            await worker.catch_up()

        by_meaning = await recall(RunSearch(db, embedder, store))
        await embedder.close()

    by_words = await recall(RunSearch(db))
    assert by_meaning >= 0.9
    assert by_words <= 0.3
