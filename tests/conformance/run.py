"""Autobahn's WebSocket cases against our WebSocket layer: 301 in each role, on each runtime.

    python tests/conformance/run.py [--adapter trio|asyncio] [--role client|server] [--json FILE]

kosoku plays the other side, on loopback and random free ports. Left out are the cases of
compression (12 and 13): no extension is ever used here. The exit status is 0 only if every case
of every run passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from time import monotonic
from typing import Any

import kosoku

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a file

from tests.conformance.echo import AGENT
from tests.conformance.loops import RUNTIMES, run

CASES = 301  # Autobahn's cases without compression
COMPRESSION = ["12.*", "13.*"]
TIME_LIMIT = 300.0  # seconds a run
ROLES = ("server", "client")

Results = Sequence[Any]


async def try_server(adapter: str) -> Results:
    """Our server, kosoku as its client."""
    port: Future[int] = Future()
    stopped = threading.Event()

    async def serve() -> None:
        await RUNTIMES[adapter].serve(port.set_result, stopped.wait)

    def work() -> None:
        try:
            run(adapter, serve)
        except BaseException as exc:
            if port.done():
                raise
            port.set_exception(exc)

    serving = asyncio.create_task(asyncio.to_thread(work))
    try:
        url = f"ws://127.0.0.1:{await asyncio.to_thread(port.result)}"
        return await kosoku.run_fuzzingclient(url, exclude_cases=COMPRESSION)
    except kosoku.FailureError as failure:
        return failure.results
    finally:
        stopped.set()
        await serving


async def try_client(adapter: str) -> Results:
    """Our client, kosoku as its server: one connection a case."""
    connect = RUNTIMES[adapter].connect
    results: Results = []

    async with kosoku.run_fuzzingserver(exclude_cases=COMPRESSION, port=0) as server:

        async def drive() -> None:
            count = int(await connect(server.port, "/getCaseCount") or 0)
            for case in range(1, count + 1):
                await connect(server.port, f"/runCase?case={case}&agent={AGENT}")
            await connect(server.port, f"/updateReports?agent={AGENT}")

        await asyncio.to_thread(run, adapter, drive)
        try:
            results = await server.get_result()
        except kosoku.FailureError as failure:
            results = failure.results
    return results


async def main() -> int:
    """Run what the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(description="Autobahn's cases against our WebSocket layer")
    parser.add_argument("--adapter", choices=sorted(RUNTIMES), help="only this one")
    parser.add_argument("--role", choices=ROLES, help="only this one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict there")
    args = parser.parse_args()
    adapters = [args.adapter] if args.adapter else sorted(RUNTIMES)
    roles = [args.role] if args.role else ROLES
    verdicts: list[dict[str, Any]] = []
    good = True
    print(f"{'adapter':9} {'role':7} {'passed':>11}  {'of them not strict':>18}  seconds")
    for adapter in adapters:
        for role in roles:
            began = monotonic()
            attempt = try_server if role == "server" else try_client
            results = await asyncio.wait_for(attempt(adapter), TIME_LIMIT)
            passed = [result for result in results if result.passed]
            lax = [result for result in passed if result.behavior.value == "NON-STRICT"]
            took = monotonic() - began
            score = f"{len(passed)} of {len(results)}"
            print(f"{adapter:9} {role:7} {score:>11}  {len(lax):>18}  {took:7.1f}", flush=True)
            good = good and len(passed) == len(results) == CASES
            for result in results:
                if not result.passed:
                    print(f"  {result.case_id}: {result.result} {result.result_close}")
                verdicts.append(
                    {
                        "adapter": adapter,
                        "role": role,
                        "case": result.case_id,
                        "passed": result.passed,
                        "behavior": result.behavior.value,
                        "close": result.behavior_close.value,
                        "milliseconds": result.duration,
                    }
                )
    if args.json:
        args.json.write_text(json.dumps(verdicts, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
