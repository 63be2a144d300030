"""Python client of the Millrace workflow server.

    async with AsyncClient("http://127.0.0.1:8070", api_key) as client:
        execution = await client.start("slack.incident_workflow", {"severity": "high"})
        result = await client.wait(execution["execution_id"])

`Client` is the same, blocking. `millrace_client.langgraph` records LangGraph runs (extra `langgraph`).
"""

from .aio import AsyncClient, notify_registry_of_run
from .errors import ApiError, ClientError, NotConfigured, ServerUnreachable, WaitTimeout
from .spool import Spool
from .sync import Client

__all__ = [
    "ApiError", "AsyncClient", "Client", "ClientError", "NotConfigured", "ServerUnreachable", "Spool", "WaitTimeout",
    "notify_registry_of_run",
]  # fmt: skip
