"""A browser without a window, the page that it is given, and a wire that notes what it says.

    PageServer ─► page.html and its scripts ─► the browser ─► Tap ─► a port of the gate
        ▲                                         │
        └────────────── POST /report ─────────────┘

Everything is on loopback. The page reports by itself, so the browser needs no remote control.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import quote

VARIABLE = "RTM_BROWSER"  # names the browser; empty: there is none
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
LOOPBACK = "127.0.0.1"
PIECE = 65_536  # bytes

# What a browser on its own would do besides: ask its maker for news, look for a keyring, a GPU.
QUIET = (
    "--headless",
    "--no-sandbox",  # it cannot be had as root or in most containers; the page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--ignore-certificate-errors",  # those of the tests have an authority of their own
    "--password-store=basic",
)


def find_browser(environ: Mapping[str, str] = os.environ) -> str | None:
    """The program of a browser that can be run, or None.

    The variable RTM_BROWSER names one; empty, it says that there is none. Raises LookupError when
    it names what cannot be run.
    """
    named = environ.get(VARIABLE)
    for name in NAMES if named is None else (named,):
        program = shutil.which(name, path=environ.get("PATH")) if name else None
        if program is not None and _runs(program):
            return program
    if named:
        raise LookupError(f"{VARIABLE}={named}: no browser that runs")
    return None


@cache
def _runs(program: str) -> bool:
    """Whether it is more than a stub that asks to install something else."""
    try:
        asked = subprocess.run([program, "--version"], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and any(part.isdigit() for part in asked.stdout.decode("latin-1"))


@contextmanager
def open_page(
    browser: str, profile: Path, address: str, *, hosts: Mapping[str, str]
) -> Generator[None, None, None]:
    """Show the page at *address*; leaving the block ends the browser with all its processes.

    *profile*: a new folder for what it keeps. *hosts*: where it finds ``name:port``.
    """
    rules = ",".join(f"MAP {name} {there}" for name, there in hosts.items())
    profile.mkdir()
    log = profile / "log.txt"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [
                browser,
                *QUIET,
                f"--user-data-dir={profile}",
                f"--host-resolver-rules={rules}",
                address,
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        except BaseException:
            print(log.read_text(errors="replace")[-4000:])  # for who reads of the failure
            raise
        finally:
            process.terminate()  # so that it ends its own processes
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class PageServer:
    """Serves /page.html and other *files*, by path, and gets the page's report."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.reports: queue.Queue[dict[str, Any]] = queue.Queue()
        reports = self.reports

        class Visit(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = files.get(self.path)
                body = b"" if file is None else file.read_bytes()
                self.send_response(404 if file is None else 200)
                self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, "text/plain"))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()
                reports.put(json.loads(body))

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Visit)

    def address(self, orders: Mapping[str, object]) -> str:
        """The page's own, with what it is to do."""
        return f"http://{LOOPBACK}:{self.server.server_port}/page.html#{quote(json.dumps(orders))}"


class Tap:
    """A port on the way to another one; ``heard`` has what came in, stream by stream."""

    def __init__(self, port: int) -> None:
        self.heard: list[bytearray] = []
        heard = self.heard

        class Stream(BaseRequestHandler):
            def handle(self) -> None:
                note = bytearray()
                heard.append(note)
                with socket.create_connection((LOOPBACK, port)) as far:
                    back = threading.Thread(target=_carry, args=(far, self.request))
                    back.start()
                    _carry(self.request, far, note)
                    back.join()

        self.server = ThreadingTCPServer((LOOPBACK, 0), Stream)

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.server.server_address[1]}"


@contextmanager
def running(*servers: PageServer | Tap) -> Generator[None, None, None]:
    """Serve in threads; leaving the block ends them and what they serve."""
    threads = [threading.Thread(target=one.server.serve_forever, args=(0.05,)) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for one, thread in zip(servers, threads, strict=True):
            one.server.shutdown()
            thread.join()
            one.server.server_close()  # waits for what is being served


def _carry(near: socket.socket, far: socket.socket, note: bytearray | None = None) -> None:
    """Pass on what comes, until the end of it."""
    try:
        while data := near.recv(PIECE):
            if note is not None:
                note += data
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone: that is the end for both
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
