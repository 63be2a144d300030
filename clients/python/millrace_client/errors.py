"""What can go wrong when talking to the server."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """The base of every error of this package."""


class NotConfigured(ClientError):
    """No base URL: pass `base_url` or set MILLRACE_URL (or REGISTRY_URL)."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class ServerUnreachable(ClientError):
    """The server did not answer, also after the retries."""


class ApiError(ClientError):
    """The server refused the request.

    `status` is the HTTP status, `code` the server's `error_code`, `details` its details, `request_id` what to
    look for in the server's log.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.code: str = body.get("error_code") or "UNKNOWN"
        self.details: dict[str, Any] = body.get("details") or {}
        self.request_id: str | None = body.get("request_id")
        super().__init__(f"{status} {self.code}: {body.get('message') or body.get('detail') or 'no message'}")


class WaitTimeout(ClientError):
    """The execution did not end within the time given; it goes on."""

    def __init__(self, execution_id: str, seconds: float) -> None:
        super().__init__(f"execution {execution_id} did not end within {seconds:g} s; it goes on")
        self.execution_id = execution_id
