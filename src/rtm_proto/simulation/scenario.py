"""The scenario: who sends what when, what befalls them, and how it ends.

act         users log in, send, move, regroup; storms break
heal        the sky clears, the gate comes back; everybody has to be online again
repeat      what is unsettled is sent again, with its mid, and has to arrive
leave       everybody logs out; after that nothing may be left anywhere
"""

from __future__ import annotations

from hashlib import md5

from ..address import Address
from ..attrs import file_sign, write_attrs
from ..connection import Connection
from ..desk import Desk
from ..errors import FileRefused, RtmError, SendFailed
from ..flows.transfer import FileSent
from ..link import StreamLink
from ..received import Conversation
from .ledger import Message, Violation
from .service import FILE_PORT, GROUP, HOST, PID, ROOM, Service
from .tasks import Bell, Task, sleep_until
from .user import MTYPE, User
from .wire import Wire
from .world import World

HEALING = 120.0  # seconds in which everybody has to be online again: a half-open link needs 35
TRIES = 3  # sendings of one message before the sky clears
LONGEST_JUMP = 300_000  # ms that a wall clock is set forward at once: well below the gate's window


class Scenario:
    """One story, told by the chance of its seed."""

    def __init__(self, world: World, service: Service, users: list[User]) -> None:
        self.over = False
        self.world = world
        self.service = service
        self.users = users
        self._calls: list[Task] = []
        world.start(self._tell())

    async def act(self) -> None:
        """What happens before the sky clears. Override it for a story of your own."""
        world, chance = self.world, self.world.chance
        storms = world.start(self._storms())
        for user in self.users:
            for _ in range(chance.integer(1, 3)):
                self._calls.append(world.start(self._deliver(user, chance.between(0.0, 8.0))))
        await sleep_until(world.clock.now + chance.between(5.0, 15.0))
        storms.cancel()

    # --- private: how it goes on ---

    async def _tell(self) -> None:
        world, clock = self.world, self.world.clock
        await self.act()
        world.trace.say("scenario", "the sky clears")
        world.sky.clear()
        self.service.restart()
        for stream in self.service.streams:
            stream.up.resume()
            stream.down.resume()
        for task in self._calls:
            await task.done.wait()
        await self._everybody_online()
        await self._repeat()
        await sleep_until(clock.now + 15.0)
        world.ledger.settle(lost={user.uid: user.lost_events for user in self.users})
        world.trace.say("scenario", "everybody leaves")
        for user in self.users:
            world.start(user.leave())
        self.over = True

    # --- private: act ---

    async def _deliver(self, user: User, pause: float) -> None:
        """A user sends a message, and again what may not have arrived."""
        world, chance, clock = self.world, self.world.chance, self.world.clock
        if world.ledger.calm:
            await user.online.wait()
        await sleep_until(clock.now + pause)
        message = self._message(user)
        if message is None:
            return
        for _ in range(TRIES):
            await self._send(user, message)
            outcome = message.sendings[-1].outcome
            again = 0.3 if isinstance(outcome, (FileSent, FileRefused)) else 0.8
            if world.ledger.calm or world.sky.weather.calm or not chance.happens(again):
                return
            await sleep_until(clock.now + chance.between(0.0, 3.0))

    def _message(self, user: User) -> Message | None:
        chance, world = self.world.chance, self.world
        kind = chance.one_of((Conversation.P2P, Conversation.P2P, Conversation.GROUP, None))
        size = chance.integer(0, chance.one_of((50, 50, 500, 5_000)))
        if chance.happens(0.03):
            size = chance.integer(60_000, 140_000)
        body = chance.bytes(size)
        if kind is None:
            present = user.presence is not None and user.presence.in_room
            if world.ledger.calm and not present:
                return None
            return user.new_message(Conversation.ROOM, ROOM, body)
        if kind is Conversation.GROUP:
            if world.ledger.calm and user is self.users[-1]:
                return None  # the last one is no member
            return user.new_message(kind, GROUP, body)
        others = [other.uid for other in self.users if other is not user]
        return user.new_message(kind, chance.one_of(others), body)

    async def _send(self, user: User, message: Message) -> None:
        world, chance = self.world, self.world.chance
        if not chance.happens(world.sky.weather.cancel):
            await user.send(message)
        else:
            done = Bell()
            task = world.start(self._send_and_ring(user, message, done))
            patience = chance.between(0.0, 6.0) * chance.number()
            if not await done.wait(world.clock.now + patience):
                task.cancel()
        if chance.happens(world.sky.weather.thief) and user.spent:
            world.start(self._steal(user))

    async def _send_and_ring(self, user: User, message: Message, done: Bell) -> None:
        await user.send(message)
        done.ring()

    async def _steal(self, user: User) -> None:
        """Somebody has seen a token that was used, and sends a file of their own with it."""
        world, chance, clock = self.world, self.world.chance, self.world.clock
        token, message = user.spent[-1]
        if message.stored_as is None or message.kind is not Conversation.P2P:
            return
        deadline = clock.now + 5.0
        try:
            address = Address("tcp", HOST, FILE_PORT)
            stream = await self.service.dial(address, deadline, "thief")
        except RtmError:
            return
        desk = Desk(Connection(StreamLink()))
        wire = Wire(
            clock,
            chance,
            world.sky,
            stream.client,
            desk.connection,
            lambda now: desk.collect(now=now),
        )
        wire.start()
        body = b"not what was sent"
        sign = file_sign(md5(body, usedforsecurity=False).hexdigest(), token)
        params = {
            "pid": PID,
            "from": user.uid,
            "to": message.target,
            "mtype": MTYPE,
            "mid": message.mid + 1,
            "token": token,
            "file": body,
            "attrs": write_attrs("stolen.bin", sign, None),
        }
        world.trace.say("thief", f"uses the token of {message.number} again")
        ticket = desk.ask("sendfile", params, deadline=deadline)
        wire.turn()
        done = Bell()
        ticket.bell = done.ring
        await done.wait(deadline + 1.0)
        desk.connection.close(now=clock.now)
        wire.turn()

    # --- private: storms ---

    async def _storms(self) -> None:
        """Four times a second, whatever may happen does or does not."""
        world, chance, service = self.world, self.world.chance, self.service
        weather = world.sky.weather
        while True:
            await sleep_until(world.clock.now + 0.25)
            if chance.happens(weather.crash / 4):
                service.crash()
            if chance.happens(weather.kick / 4):
                service.kick(chance.one_of(self.users).uid)
            if chance.happens(weather.jump / 4):
                wall = chance.one_of([service.wall, *(user.wall for user in self.users)])
                by = chance.one_of((LONGEST_JUMP, 1000, -1000, -LONGEST_JUMP, -86_400_000))
                world.trace.say("scenario", f"a wall clock jumps by {by} ms")
                wall.jump(by)
            if chance.happens(weather.regroup / 4):
                world.start(self._regroup())
            if chance.happens(weather.leave_room / 4):
                method = chance.one_of(("enterroom", "leaveroom"))
                world.start(chance.one_of(self.users).move(method))
            self._upset_a_stream()

    def _upset_a_stream(self) -> None:
        world, chance, service = self.world, self.world.chance, self.service
        weather = world.sky.weather
        service.tidy()
        streams = [*service.streams]
        if streams and chance.happens(weather.reset / 4):
            stream = chance.one_of(streams)
            if chance.happens(weather.half_open):
                stream.die()
            else:
                stream.reset("reset")
        if streams and chance.happens(weather.pause / 4):
            stream = chance.one_of(streams)
            lane = chance.one_of((stream.up, stream.down))
            world.trace.say(stream.name, "a reader stops")
            lane.pause()
            world.clock.after(chance.between(0.1, 10.0), lane.resume)

    async def _regroup(self) -> None:
        """A member, who stays one, lets the group change."""
        chance = self.world.chance
        method = chance.one_of(("addgroupmembers", "delgroupmembers"))
        other = chance.one_of(self.users[1:])
        self.world.ledger.regrouping(GROUP)
        await self.users[0].quest(method, {"gid": GROUP, "uids": [other.uid]})

    # --- private: heal, repeat ---

    async def _everybody_online(self) -> None:
        deadline = self.world.clock.now + HEALING
        for user in self.users:
            while user.presence is None or not user.presence.good:
                if self.world.clock.now >= deadline:
                    raise Violation(f"{user} is not online {HEALING:g} s after the sky has cleared")
                await sleep_until(self.world.clock.now + 1.0)

    async def _repeat(self) -> None:
        """What is unsettled is sent again, and has to arrive where its sender has the right to."""
        users = {user.uid: user for user in self.users}
        for message in self.world.ledger.messages:
            user = users[message.sender]
            if message.settled or not message.sendings or not self._may(user, message):
                continue
            outcome: FileSent | SendFailed | None = None
            for _ in range(2):
                outcome = await user.send(message)
                if isinstance(outcome, FileSent):
                    break
                await sleep_until(self.world.clock.now + 25.0)  # a link may have been broken
            if not isinstance(outcome, FileSent) and self._may(user, message):
                raise Violation(f"message {message.number} cannot be sent in a calm: {outcome}")

    def _may(self, user: User, message: Message) -> bool:
        if message.kind is Conversation.ROOM:
            return user.presence is not None and user.presence.in_room
        if message.kind is Conversation.GROUP:
            return self.world.ledger.member(user.uid, message.target)
        return True
