"""A headless Chromium that can reach this machine only, driven over its debugging protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
START_S = 30.0


class Page:
    """One page: opens addresses, evaluates JavaScript, remembers requests and complaints."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=address)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its answer."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=180))
            if message.get("id") == self._number:
                return message.get("result", message)
            self._note(message)

    def evaluate(self, script: str) -> Any:
        """The value of an expression, promises awaited. Raises AssertionError with what the page threw."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """What the page looks like now, as PNG."""
        shown = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shown["data"])

    def until(self, script: str, *, seconds: float = 90.0) -> Any:
        """Ask the page until a function of it answers something true, and yield that. Raises AssertionError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError, KeyError):  # between two pages there is nobody to ask
                if found := self.evaluate(f"({script})()"):
                    return found
            time.sleep(0.05)
        raise AssertionError(f"never: {script}")

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A page of a fresh browser whose profile is in `folder`. Raises RuntimeError without Chromium."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        raise RuntimeError("these tests need chromium: apt-get install chromium")
    process = subprocess.Popen(
        [binary, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(folder / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{_target(port)}", max_size=None, open_timeout=START_S) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait()


def _port(announced: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        lines = announced.read_text().splitlines() if announced.exists() else []
        if len(lines) == 2:
            return int(lines[0])
        time.sleep(0.05)
    raise RuntimeError("chromium did not start")


def _target(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=START_S) as answer:
        pages = [found for found in json.load(answer) if found["type"] == "page"]
    return str(pages[0]["webSocketDebuggerUrl"]).partition(f":{port}")[2]
