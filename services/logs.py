"""Where log lines go, and in which form."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from services.access.audit import AaaFormatter, JsonFormatter

QUIET = ("pgqueuer", "pymilvus", "httpx", "httpcore", "httpx2", "openai", "asyncio", "uvicorn", "hypercorn", "quart")


def configure(*, level: str, form: str, module: str, stream: TextIO | None = None) -> logging.Handler:
    """Send every record of the process to `stream` (default stderr) as `aaa` or `json` lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(module) if form == "json" else AaaFormatter(module))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler
