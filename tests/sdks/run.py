"""The official JavaScript SDK, as it is, against the gate: in a browser and in Node.

    ./dev sdks FOLDER [--in browser|node] [--runtime trio|asyncio]

FOLDER holds the SDK as its makers publish it: dist/rtm.min.js, and libs/ with what it stands on
(md5, int64, msgpack, fpnn, each .min.js). It is not part of this project. `scenario.js` says what
is tried; each step is one line, and the exit status is 0 only if every step went well.

A browser finds the gate by names that only it knows; RTM_BROWSER may say which browser. Node has to
have a WebSocket: RTM_NODE may say which node.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a file

from rtm_proto.address import parse_url
from rtm_proto.testing.background import PID, USERS, run_gate
from tests.browser.browser import LOOPBACK, PageServer, find_browser, open_page, running

HERE = Path(__file__).parent
HOST = "gate.test"
SCRIPTS = [f"libs/{name}.min.js" for name in ("md5", "int64", "msgpack", "fpnn")]
SCRIPTS.append("dist/rtm.min.js")
PATIENCE = 180.0  # seconds; a browser reads one package per tick of a timer

Report = dict[str, Any]


def in_browser(folder: Path, orders: Mapping[str, Any]) -> Report | str:
    """The page's report, or why there is none."""
    browser = find_browser()
    if browser is None:
        return "no browser is installed"
    files = {"/page.html": HERE / "page.html", "/scenario.js": HERE / "scenario.js"}
    page = PageServer({**files, **{f"/sdk/{name}": folder / name for name in SCRIPTS}})
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as kept,
        running(page),
        open_page(browser, Path(kept) / "profile", page.address(orders), hosts=orders["hosts"]),
    ):
        try:
            report: Report = page.reports.get(timeout=PATIENCE)
            return report
        except queue.Empty:
            return {"fault": f"the page did not report within {PATIENCE:g} s"}


def in_node(folder: Path, orders: Mapping[str, Any]) -> Report | str:
    """Node's report, or why there is none."""
    node = shutil.which(os.environ.get("RTM_NODE", "node"))
    if node is None:
        return "no node is installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    options = ["--experimental-websocket"] if version.startswith(("v20.", "v21.")) else []
    script = [str(HERE / "node.js"), str(folder), json.dumps(orders)]
    command = [node, *options, "--no-warnings", *script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"fault": f"node did not end within {PATIENCE:g} s"}
    if done.returncode == 2:
        return done.stderr.strip()
    if not done.stdout:
        return {"fault": f"node ended with {done.returncode}: {done.stderr[-2000:]}"}
    report: Report = json.loads(done.stdout)
    return report


PLACES = {"browser": in_browser, "node": in_node}


def show(where: str, report: Report | str) -> bool | None:
    """Print a report; whether everything in it went well, or None where there is none."""
    if isinstance(report, str):
        print(f"{where}: not run, {report}")
        return None
    if "fault" in report:
        print(f"{where}: {report['fault']}")
        return False
    failed = 0
    print(f"SDK {report['version']} in {where}")
    for step in report["steps"]:
        failed += not step["ok"]
        print(f"  {'ok    ' if step['ok'] else 'FAILED'} {step['name']}")
        if not step["ok"]:
            print(f"         {step['told']}")
    print(f"{len(report['steps']) - failed} passed, {failed} failed")
    return not failed


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev sdks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the SDK is")
    parser.add_argument("--in", dest="places", choices=PLACES, action="append")
    parser.add_argument("--runtime", choices=["trio", "asyncio"], default="asyncio")
    given = parser.parse_args(args)
    missing = [name for name in SCRIPTS if not (given.folder / name).is_file()]
    if missing:
        print(f"no JavaScript SDK in {given.folder}: {', '.join(missing)} missing", file=sys.stderr)
        return 2
    ends: list[bool | None] = []
    for where in given.places or PLACES:
        file_port = free_port()
        with run_gate(runtime=given.runtime, file_port=file_port) as gate:
            hosts = {
                f"{HOST}:13321": parse_url(gate.url).authority,
                f"fileproxy-{HOST}:13461": f"{LOOPBACK}:{file_port}",
            }
            orders = {
                "host": HOST,
                "port": 13321,
                "pid": PID,
                "tokens": USERS,
                "gid": 70,
                "rid": 80,
                "hosts": hosts,
            }
            ends.append(show(where, PLACES[where](given.folder.resolve(), orders)))
    return 1 if False in ends else 0 if True in ends else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
