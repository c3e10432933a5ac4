"""The commands of ``rtm``: the waiting in them. All else is in ``rtm_proto.command``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from rtm_proto.command.demo import GROUP, PROJECT, RECEIVER, ROOM, SENDER, TIME_LIMIT, Demo
from rtm_proto.command.jobs import STOP_SIGNALS, Job
from rtm_proto.command.listening import Listening
from rtm_proto.command.sending import Sending
from rtm_proto.command.serving import Serving
from rtm_proto.errors import RtmError
from rtm_proto.flows.steps import Progress
from rtm_proto.flows.transfer import SEND_TIMEOUT, FileSent
from rtm_proto.received import Conversation, Reconnected

from . import Client, open_client, serve_gate


def run(job: Job) -> int | None:
    """Do the waiting of *job*; the signal that ended it, or None."""
    return trio.run(_run, job)


async def demo(job: Demo) -> None:
    """A gate and two users in one process; a file goes from one to the other."""
    options = job.options
    with trio.move_on_after(TIME_LIMIT) as scope:
        async with serve_gate(
            pid=PROJECT, users=job.users, port=options.port, file_port=options.file_port
        ) as gate:
            job.started(gate.address, gate.file_address)
            async with (
                open_client(gate.url, pid=PROJECT, uid=SENDER, token=job.users[SENDER]) as sender,
                open_client(
                    gate.url, pid=PROJECT, uid=RECEIVER, token=job.users[RECEIVER]
                ) as receiver,
            ):
                await sender.quest("addgroupmembers", {"gid": GROUP, "uids": [SENDER, RECEIVER]})
                await sender.quest("enterroom", {"rid": ROOM})
                await receiver.quest("enterroom", {"rid": ROOM})
                job.logged_in()
                events = receiver.events()
                for parcel in job.parcels():
                    sent = await _send(
                        sender,
                        parcel.kind,
                        parcel.mtype,
                        parcel.target,
                        parcel.file,
                        mid=parcel.mid,
                        name=parcel.name,
                        progress=parcel.progress,
                    )
                    job.sent(parcel, sent)
                    if not parcel.repeat:
                        file = job.received(parcel, await anext(events))
                        job.fetched(parcel, await receiver.download(file, job.folder))
                job.all_arrived(receiver.duplicates)
    if scope.cancelled_caught:
        job.too_slow()
    job.done()


async def gate(job: Serving, told_to_stop: trio.Event) -> None:
    """A gate, until it is told to stop and has done so, or is cancelled."""
    async with serve_gate(**job.arguments()) as server:
        job.started(server)
        await told_to_stop.wait()
        job.stopping()
        await server.stop(job.options.grace)


async def send(job: Sending) -> None:
    """Log in and send a file."""
    options = job.options
    account = options.account
    async with open_client(
        account.url,
        pid=account.pid,
        uid=account.uid,
        token=account.token,
        file_route=options.file_route,
        login_timeout=job.login_timeout,
        proxy=options.proxy,
    ) as client:
        job.logged_in()
        if options.kind is Conversation.ROOM:
            await client.quest("enterroom", {"rid": options.target}, timeout=options.timeout)
        sent = await _send(
            client,
            options.kind,
            job.mtype,
            options.target,
            options.file,
            mid=options.mid,
            timeout=options.timeout,
            name=options.name,
            progress=job.progress,
        )
        job.done(sent)


async def listen(job: Listening) -> None:
    """Log in and take what comes, until the job has enough or the gate is gone."""
    options = job.options
    account = options.account
    async with open_client(
        account.url,
        pid=account.pid,
        uid=account.uid,
        token=account.token,
        proxy=options.proxy,
    ) as client:
        await _enter(client, options.rooms)
        job.ready()
        events = client.events()
        while not job.finished:
            event = await anext(events)
            if isinstance(event, Reconnected):
                await _enter(client, options.rooms)
            file = job.wanted(event)
            if file is None:
                continue
            try:
                saved = await client.download(file, job.path_for(file))
            except (RtmError, OSError) as exc:
                job.not_fetched(file, exc)
            else:
                job.fetched(file, saved)


# --- private -------------------------------------------------------------------------------------


async def _enter(client: Client, rooms: Sequence[int]) -> None:
    for rid in rooms:
        await client.quest("enterroom", {"rid": rid})


async def _run(job: Job) -> int | None:
    stopped_by: list[int] = []
    told_to_stop = trio.Event()
    left_with: Exception | None = None
    async with trio.open_nursery() as nursery:
        if STOP_SIGNALS:
            watch = partial(_watch, patient=isinstance(job, Serving))
            nursery.start_soon(watch, nursery.cancel_scope, told_to_stop, stopped_by)
        try:
            match job:
                case Demo():
                    await demo(job)
                case Serving():
                    await gate(job, told_to_stop)
                case Sending():
                    await send(job)
                case Listening():
                    await listen(job)
        except Exception as exc:
            left_with = exc  # raised below, as itself and not in the group
        nursery.cancel_scope.cancel()
    if left_with is not None:
        raise left_with
    return stopped_by[0] if stopped_by else None


async def _watch(
    scope: trio.CancelScope, told_to_stop: trio.Event, stopped_by: list[int], *, patient: bool
) -> None:
    """Cancel *scope* at the first signal to stop; a *patient* one is told first."""
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async for signum in signals:
            stopped_by.append(signum)
            if patient and len(stopped_by) == 1:
                told_to_stop.set()
            else:
                scope.cancel()


async def _send(
    client: Client,
    kind: Conversation,
    mtype: int,
    target: int,
    file: str | Path | bytes,
    *,
    mid: int,
    timeout: float = SEND_TIMEOUT,
    name: str | None,
    progress: Callable[[Progress], None] | None,
) -> FileSent:
    sends = {
        Conversation.P2P: client.send_file,
        Conversation.GROUP: client.send_group_file,
        Conversation.ROOM: client.send_room_file,
    }
    return await sends[kind](mtype, target, file, mid, timeout, name=name, progress=progress)
