"""What ``./dev bench`` compares and how it judges; and that our client does all of the work."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import queue
import socket
import sys
import threading
import types
from collections.abc import Awaitable, Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import msgpack
import pytest

from benchmarks import bench, growth, load, server, work
from benchmarks.bench import Found
from benchmarks.clients import CLIENTS, FILTERS
from benchmarks.goals import GOALS, Check, Goal, Verdict, judge, middle, ratio
from benchmarks.peers import Absent, calls, floor, library, ours
from benchmarks.peers.calls import Client
from benchmarks.peers.wire import HEAD, HEAD_SIZE, Splitter, pack_answer, pack_quest
from benchmarks.work import PARAMS, ROW_BY_NAME, ROWS, OnAsyncio, WrongResult

ROW = "quests, 100 in flight"
SAMPLES = {
    ("ours", ROW): {"cpu_us": [3.0, 1.0, 2.0]},
    ("theirs", ROW): {"cpu_us": [8.0, 4.0, 3.0]},
}


# --- judging -------------------------------------------------------------------------------------


def test_the_median_counts_and_a_ratio_is_of_medians() -> None:
    assert middle(SAMPLES, "ours", ROW, "cpu_us") == 2.0
    assert ratio(SAMPLES, "ours", "theirs", ROW, "cpu_us") == 0.5
    assert middle(SAMPLES, "ours", ROW, "wall_us") is None
    assert ratio(SAMPLES, "ours", "nobody", ROW, "cpu_us") is None


@pytest.mark.parametrize(
    ("checks", "verdict", "measured"),
    [
        ([("ours", 0.5, "theirs")], Verdict.MET, "ours: 0.50 x theirs"),
        ([("ours", 0.4, "theirs")], Verdict.NOT_MET, "ours: 0.50 x theirs (!)"),
        ([("ours", 0.5, "gone")], Verdict.UNKNOWN, "ours: not measured beside gone"),
        (
            [("gone", 0.5, "theirs"), ("ours", 0.4, "theirs")],
            Verdict.NOT_MET,
            "gone: not measured beside theirs; ours: 0.50 x theirs (!)",
        ),
        (
            [("ours", 0.4, "theirs"), ("ours", 0.4, "gone")],
            Verdict.NOT_MET,
            "ours: 0.50 x theirs (!); ours: not measured beside gone",
        ),
    ],
)
def test_a_goal_is_met_when_each_check_is(
    checks: list[tuple[str, float, str]], verdict: Verdict, measured: str
) -> None:
    made = tuple(Check(client, ROW, "cpu_us", limit, peer) for client, limit, peer in checks)
    outcome = judge(Goal("work", "goal", made), SAMPLES)
    assert outcome.verdict is verdict
    assert "; ".join(outcome.measured) == measured


def test_a_goal_without_a_peer_has_a_unit() -> None:
    samples = {
        ("ours", "memory, 64 MiB"): {"kib": [300.0]},
        ("ours", "loop stall, 5 MiB"): {"stall_ms": [1.25]},
    }
    memory = Check("ours", "memory, 64 MiB", "kib", 256)
    stall = Check("ours", "loop stall, 5 MiB", "stall_ms", 2.0)
    outcome = judge(Goal("work", "goal", (memory, stall)), samples)
    assert outcome.measured == ["ours: 300 KiB for 64 MiB (!)", "ours: 1.25 ms"]


def test_every_check_is_of_a_client_a_row_and_a_figure_that_there_are() -> None:
    names = {entry.name for entry in CLIENTS} | set(FILTERS)
    for check in (check for goal in GOALS for check in goal.checks):
        row = ROW_BY_NAME[check.row]
        assert row.goal, f"--quick has no {row.name}"
        assert {check.client, check.peer or check.client} <= names
        assert check.figure in bench.FIGURES[row.kind]
    assert len(GOALS) == 11
    assert set(bench.HEADS) == {figure for each in bench.FIGURES.values() for figure in each}


# --- the plan and the tables ---------------------------------------------------------------------


def plan_of(name: str) -> list[str]:
    return bench.clients_of(ROW_BY_NAME[name])


def test_words_choose_clients_and_rows() -> None:
    plan = bench.make_plan(ROWS, ["picows", "rtm_trio", "1 in flight"])
    assert [(row.name, clients) for row, clients in plan] == [
        ("quests, 1 in flight", ["rtm_trio", "rtm_trio, tcp", "picows", "picows, uvloop"])
    ]
    assert "bare trio loop" in plan_of("quests, 1 in flight")
    assert "bare trio loop" not in plan_of(ROW)
    assert len(bench.make_plan(ROWS, [])) == len(ROWS)
    assert bench.make_plan(ROWS, ["no such thing"]) == []


def test_a_blocking_client_has_no_loop_and_no_task() -> None:
    rows = [row.name for row, clients in bench.make_plan(ROWS, []) if "floor" in clients]
    assert ROW in rows and "file, 5 MiB" in rows
    assert "loop stall, 5 MiB" not in rows and "idle, 100 connections" not in rows


def test_the_tables() -> None:
    row = ROW_BY_NAME[ROW]
    found = Found(
        {
            ("rtm_trio", ROW): {"cpu_us": [3.0, 1.0, 2.0], "wall_us": [5.0, 6.0, 7.0]},
            ("trio-websocket", ROW): {"cpu_us": [80.0], "wall_us": [1234.5]},
            ("floor", ROW): {"cpu_us": [1.0], "wall_us": [10.0]},
        },
        {"picows": "picows is not installed"},
        [],
    )
    outcome = judge(GOALS[1], found.samples)
    plan = [(row, ["rtm_trio", "picows", "trio-websocket"])]
    lines = [line.split("  ") for line in bench.report(plan, found, [outcome]).splitlines()]
    told = [[cell.strip() for cell in line if cell] for line in lines]
    assert told == [
        ["quests, 100 in flight", "CPU us", "best", "wall us", "ratio"],
        ["rtm_trio", "2.00", "1.00", "6.00", "0.03 x trio-websocket"],
        ["trio-websocket", "80.0", "80.0", "1,234"],
        [],
        [
            "not measured",
            "small quests, 100 in flight, trio: "
            "at most 0.1 x trio-websocket, 0.15 x websockets.trio",
        ],
        ["rtm_trio: 0.03 x trio-websocket; rtm_trio: not measured beside websockets.trio"],
        [],
        ["not measured: picows: picows is not installed"],
        ["goals: 0 met, 0 not met, 1 not measured"],
        ["the server answers at least 100,000 quests a second"],
    ]
    page = bench.markdown(["a machine"], plan, found, [outcome])
    assert "- a machine" in page
    assert "| rtm_trio | 2.00 | 1.00 | 6.00 | 0.03 x trio-websocket |" in page
    kept = bench.as_json(["a machine"], found, [outcome])
    assert json.loads(json.dumps(kept))["goals"][0]["verdict"] == "not measured"


def test_figures_go_between_their_two_marks() -> None:
    page = f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n"
    once = bench.put_between(page, "new")
    assert once == f"before\n{bench.BEGIN}\n\nnew\n\n{bench.END}\nafter\n"
    assert bench.put_between(once, "new") == once
    with pytest.raises(ValueError, match="has the lines"):
        bench.put_between("no marks", "new")


def test_our_page_has_a_place_for_the_figures() -> None:
    page = (bench.ROOT / "docs/performance.md").read_text()
    assert bench.put_between(page, "new") != page


def test_it_says_what_machine_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 2.0, 1.0), raising=False)
    told = "\n".join(bench.about_machine())
    assert "msgpack 1." in told and "load average 3.00, 2.00, 1.00" in told
    assert "WARNING: the machine is busy" in told


def test_names_are_listed_and_a_wrong_one_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.main(["--list"]) == 0
    assert "trio-websocket" in capsys.readouterr().out
    assert bench.main(["--only", "no such thing"]) == 2
    assert "nothing is called no such thing" in capsys.readouterr().err


def test_a_library_that_is_missing_is_told_as_such() -> None:
    with pytest.raises(Absent, match="no_such_library is not installed"):
        library("no_such_library")


# --- the work ------------------------------------------------------------------------------------


def on_a_server(work: Callable[[str], Awaitable[None]]) -> None:
    """Do *work* with the authority of a server that runs in this loop."""

    async def main() -> None:
        async with await server.listen() as listening:
            await work(f"127.0.0.1:{server.port_of(listening)}")

    asyncio.run(main())


async def do_everything(client: Client, path: Path) -> None:
    """A little of each kind of work."""
    assert await client.quest("hello", PARAMS) == server.HELLO
    found = [
        await work.quests(client, OnAsyncio, 20, 5),
        await work.pushes(client, 120, file=False),
        await work.pushes(client, 60, file=True),
        await work.files(client, path, 2),
        await work.stall(client, OnAsyncio, path, 1),
        await work.memory(client, path),
    ]
    kinds = ["quests", "pushes", "pushes", "file", "stall", "memory"]
    assert [tuple(figures) for figures in found] == [bench.FIGURES[kind] for kind in kinds]
    assert all(value >= 0 for figures in found for value in figures.values())


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
@pytest.mark.parametrize("size", [0, 100, 300_000])
def test_our_client_does_the_work_and_the_server_sees_the_right_bytes(
    scheme: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(i * 7 & 0xFF for i in range(size)))

    async def main(authority: str) -> None:
        async with ours.open_asyncio(f"{scheme}://{authority}") as client:
            await do_everything(client, path)
            await client.quest("bench.hash", {"on": True})
            await client.send_file(path)
            [came] = (await client.quest("bench.files", {}))["files"]
            digest = md5(path.read_bytes()).hexdigest()
            assert came == {"size": size, "md5": digest, "right": True}

    on_a_server(main)


@pytest.mark.parametrize("make", ["open_asyncio", "open_fragments"])
def test_a_client_on_websockets_does_the_same_work(make: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(300_000))
    opener = getattr(importlib.import_module("benchmarks.peers.with_websockets"), make)

    async def main(authority: str) -> None:
        async with opener(f"ws://{authority}/") as client:
            await do_everything(client, path)

    on_a_server(main)


def test_a_client_on_wsproto_does_the_same_work(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(300_000))
    opener = importlib.import_module("benchmarks.peers.with_wsproto").open_asyncio

    async def main(authority: str) -> None:
        async with opener(f"ws://{authority}/") as client:
            await do_everything(client, path)

    on_a_server(main)


def test_the_floor_does_the_same_work(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(300_000))

    def block(authority: str) -> None:
        client = floor.Floor(f"tcp://{authority}")
        for name in (ROW, "pushes", "pushes of files", "file, 5 MiB"):
            figures = work.blocking(client, ROW_BY_NAME[name], path, 20)
            assert tuple(figures) == bench.FIGURES[ROW_BY_NAME[name].kind]
        client.close()

    on_a_server(lambda authority: asyncio.to_thread(block, authority))


def test_a_bare_loop_asks_and_hears() -> None:
    bare_loop = importlib.import_module("benchmarks.peers.bare_loop")

    async def main(authority: str) -> None:
        async with bare_loop.open_asyncio(f"tcp://{authority}") as client:
            figures = await work.quests(client, OnAsyncio, 20, 1)
            assert tuple(figures) == bench.FIGURES["quests"]

    on_a_server(main)


class SdkClient:
    """What the adapter for the official SDK uses of it, with the SDK's names."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.waiting: dict[int, Callable[[SdkMessage], None]] = {}
        self.processor: Any = None
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def set_quest_timeout(self, milliseconds: int) -> None:
        assert milliseconds == 20_000

    def set_quest_processor(self, processor: Any) -> None:
        self.processor = processor

    def send_quest(self, quest: SdkMessage, callback: Any = None) -> SdkMessage | None:
        answers: queue.Queue[SdkMessage] = queue.Queue()
        seq = len(self.waiting) + 1
        self.waiting[seq] = answers.put if callback is None else callback.callback
        self.socket.sendall(pack_quest(quest.method, quest.params_map, seq))
        return answers.get() if callback is None else None

    def read(self) -> None:
        splitter = Splitter()
        while data := self.socket.recv(65_536):
            for package in splitter.feed(data):
                _, _, _, kind, size, _, seq = HEAD.unpack_from(package)
                params = msgpack.unpackb(package[HEAD_SIZE + (size if kind == 1 else 0) :])
                if kind == 1:
                    answer = self.processor.pushmsg(None, SdkMessage("pushmsg", params=params))
                    assert answer.params_map == {}
                    self.socket.sendall(pack_answer(b"\x80", seq))
                else:
                    self.waiting[seq](SdkMessage("", params=params, failed=bool(size)))

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    destory = close


class SdkMessage:
    """A quest or an answer of the SDK."""

    def __init__(
        self, method: str = "", *, params: dict[str, Any] | None = None, failed: bool = False
    ) -> None:
        self.method = method
        self.params_map = params or {}
        self.is_error = lambda: failed


def test_a_client_on_the_official_sdk_does_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(300_000))
    sdk_parts = {"Quest": SdkMessage, "Answer": SdkMessage, "TCPClient": SdkClient}
    module = types.SimpleNamespace(**sdk_parts, QuestCallback=object, QuestProcessor=object)
    monkeypatch.setitem(sys.modules, "fpnn", module)
    monkeypatch.delitem(sys.modules, "benchmarks.peers.sdk", raising=False)
    sdk = importlib.import_module("benchmarks.peers.sdk")
    monkeypatch.delitem(sys.modules, "benchmarks.peers.sdk")

    def block(authority: str) -> None:
        client = sdk.Sdk(f"tcp://{authority}")
        for name in ("quests, 1 in flight", ROW, "pushes", "pushes of files", "file, 5 MiB"):
            figures = work.blocking(client, ROW_BY_NAME[name], path, 20)
            assert tuple(figures) == bench.FIGURES[ROW_BY_NAME[name].kind]
        with pytest.raises(calls.Refused):
            client.quest("sendfile", {})
        client.close()

    on_a_server(lambda authority: asyncio.to_thread(block, authority))


def test_idle_connections_are_opened_and_closed() -> None:
    async def main(authority: str) -> None:
        figures = await work.idle(ours.open_asyncio, f"tcp://{authority}", OnAsyncio, 3)
        assert tuple(figures) == bench.FIGURES["idle"]
        assert figures["cpu_us"] > 0

    try:
        work.rss()
    except Absent:
        return
    on_a_server(main)


def test_runs_in_parts_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [("rtm_asyncio", [2.0, 8.0], "a first run"), ("picows", [10.0], "a second run")]
    args: list[str] = []
    for client, values, about in parts:
        found = Found({(client, ROW): {"cpu_us": values, "wall_us": values}}, {}, [])
        outcomes = [judge(goal, found.samples) for goal in GOALS]
        path = tmp_path / f"{client}.json"
        path.write_text(json.dumps(bench.as_json([about], found, outcomes)))
        args += ["--from", str(path)]
    page = tmp_path / "page.md"
    page.write_text(f"{bench.BEGIN}\n{bench.END}\n")
    assert bench.main([*args, "--markdown", str(page)]) == 0
    assert capsys.readouterr().out.startswith("a first run\n\nquests, 100 in flight")
    assert "| rtm_asyncio | 5.00 | 2.00 | 5.00 | 0.50 x picows |" in page.read_text()


def test_growth_is_measured_in_each_way(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(100_000))

    async def main(authority: str) -> None:
        url = f"ws://{authority}/"
        async with ours.open_asyncio(url) as client:
            found = [
                await growth.of_quests(client, OnAsyncio, 20, 5),
                await growth.of_files(client, OnAsyncio, path, 1),
            ]
        found.append(await growth.of_connections(ours.open_asyncio, url, OnAsyncio, 3))
        for kind, figures in zip(growth.KINDS, found, strict=True):
            shown = growth.HEADS[kind][1] | growth.STALL
            assert shown.keys() <= figures.keys()
            assert all(figures[each] > 0 for each in shown if each != "kib")

    try:
        work.rss()
    except Absent:
        return
    on_a_server(main)


def test_growth_has_a_table_for_each_kind_and_client() -> None:
    rows = [row for row in ROWS if row.kind in growth.KINDS]
    assert {row.kind for row in rows} == set(growth.KINDS) and all(row.long for row in rows)
    assert plan_of("growth, 1 GiB") == ["rtm_asyncio", "rtm_trio"]
    figures = {
        "cpu_us": [7.0, 9.0, 8.0],
        "kib": [1234.0],
        "stall_ms": [1.5],
        "stall_cpu_ms": [12.3],
    }
    samples = {("rtm_trio", name): figures for name in ("growth, 10", "growth, 1,000")}
    plan = [(row, plan_of(row.name)) for row in rows]
    assert bench.tables(plan, samples) == [
        [
            [
                "rtm_trio, quests in flight",
                "CPU us a quest",
                "KiB in all",
                "longest turn, ms",
                "of it CPU, ms",
            ],
            ["10", "8.00", "1,234", "1.50", "12.3"],
            ["1,000", "8.00", "1,234", "1.50", "12.3"],
        ]
    ]


@pytest.mark.parametrize("name", FILTERS)
def test_ids_are_remembered(name: str) -> None:
    figures = work.dedup(name, 100)
    assert tuple(figures) == bench.FIGURES["dedup"]
    assert figures["bytes_an_id"] > 50


def test_a_file_whose_sign_is_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"some bytes")

    def wrong_attrs(*_: object) -> str:
        return '{"rtm":{"sign":"0"}}'

    monkeypatch.setattr(calls, "file_attrs", wrong_attrs)

    def block(authority: str) -> None:
        client = floor.Floor(f"tcp://{authority}")
        client.quest("bench.hash", {"on": True})
        with pytest.raises(calls.Refused, match="not a right file quest"):
            client.send_file(path)
        [came] = client.quest("bench.files", {})["files"]
        assert not came["right"]
        client.close()

    on_a_server(lambda authority: asyncio.to_thread(block, authority))


def test_a_wrong_result_says_what_came() -> None:
    with pytest.raises(WrongResult, match="answers: expected 2, got 1"):
        work.expect("answers", 1, 2)


def test_a_push_is_given_out_once_and_answered_each_time() -> None:
    pushed: list[calls.Pushed] = []
    taker = calls.Calls(pushed.append)
    for seq in (1, 2):
        assert taker.take(server.text_push(7)) == pack_answer(b"\x80", 7), seq
    assert len(pushed) == 1 and pushed[0].msg == "twenty bytes of text"


def test_packages_are_cut_wherever_they_are() -> None:
    data = pack_quest("hello", {}, 1) + pack_answer(b"\x80", 2)
    splitter = Splitter()
    found = [package for at in range(len(data)) for package in splitter.feed(data[at : at + 1])]
    assert found == [pack_quest("hello", {}, 1), pack_answer(b"\x80", 2)]


def test_a_run_in_a_process_of_its_own_says_what_failed(tmp_path: Path) -> None:
    found = Found({}, {}, [])
    place = bench.Place(port=9, folder=tmp_path)  # nobody listens there
    bench.run_one("rtm_asyncio", ROW_BY_NAME[ROW], place, 1, found)
    assert not found.samples and not found.absent
    [failure] = found.failed
    assert failure.startswith("rtm_asyncio: quests, 100 in flight: exit 1")
    assert "ConnectFailed" in failure


def test_a_load_is_carried_out_and_measured() -> None:
    """A small crowd: that it works, not how fast."""
    for runtime in ("asyncio", "trio"):
        rows = load.measure(runtime, 5, 3, 0.3)
        assert [row.crowd for row in rows] == ["nobody", "5 idle", "and 3 slow"]
        assert all(0 < row.p50 <= row.p99 <= row.most for row in rows)
        assert all(row.dropped == 0 for row in rows[:2]) and rows[0].kib is None
        assert "p99" in load.words(rows[2])
