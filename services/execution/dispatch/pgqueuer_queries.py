"""PgQueuer's statements, without the log of every job that it keeps."""

from __future__ import annotations

from typing import Any

from pgqueuer.queries import Queries

DONE = "DELETE FROM pgqueuer WHERE id = ANY($1::bigint[])"


class LeanQueries(Queries):
    """Removes a finished job with one statement; what went wrong is kept in the library's log as ever."""

    async def log_jobs(self, job_status: list[tuple[Any, Any, Any]]) -> None:
        """Remove jobs that ended well, log the others."""
        done = [job.id for job, status, _ in job_status if status == "successful"]
        if done:
            await self.driver.execute(DONE, done)
        others = [entry for entry in job_status if entry[1] != "successful"]
        if others:
            await super().log_jobs(others)
