"""How a server ends: gracefully on the first signal, at once on the second. And what it does not listen to for ever."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.crash
ROOT = Path(__file__).parents[2]


@contextmanager
def server(folder, **environ):
    command = [sys.executable, "-m", "cli", "serve"]
    env = {"PATH": "/usr/bin:/bin", "PORT": "0", "DATA_DIR": str(folder), "SHUTDOWN_SECONDS": "40", **environ}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if found := re.search(r"listens on http://127.0.0.1:(\d+)", line):
                break
        else:
            raise RuntimeError(printed)
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def hold(port):
    """An upload that never comes to its end."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
    connection.sendall((head.format(key="k" * 40) + "Content-Length: 100\r\n\r\n{").encode())
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(tmp_path, number):
    with server(tmp_path) as (process, port):
        urlopen(f"http://127.0.0.1:{port}/ready").close()

        process.send_signal(number)

        assert process.wait(timeout=30) == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    with server(tmp_path, MILLRACE_ADMIN_KEY="k" * 40) as (process, port), hold(port):
        urlopen(f"http://127.0.0.1:{port}/health").close()
        process.send_signal(signal.SIGTERM)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                break
        still_there = process.poll() is None

        process.send_signal(signal.SIGTERM)

        assert still_there
        assert process.wait(timeout=5) == 128 + signal.SIGTERM


def test_a_taken_port_is_said_and_ends_it(tmp_path):
    with server(tmp_path) as (_, port):
        command = [sys.executable, "-m", "cli", "serve"]
        env = {"PATH": "/usr/bin:/bin", "PORT": str(port), "DATA_DIR": str(tmp_path / "other")}

        second = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)

        assert second.returncode != 0
        assert "address already in use" in second.stderr


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_a_head_without_end_is_refused(tmp_path, piece):
    with server(tmp_path) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-B: ")

        with contextlib.suppress(OSError):
            for _ in range(200):
                connection.sendall(piece)
        try:
            answer = connection.recv(100)
        except ConnectionResetError:
            answer = b""

        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
