"""Links other than the usual ones, at both ends: FPNN's encryption, and one that is watched."""

from __future__ import annotations

import os
from functools import partial

import pytest

from rtm_proto.address import Address
from rtm_proto.encryption import SEED_SIZE, Curve, EncryptedLink, PrivateKey
from rtm_proto.errors import ConnectFailed
from rtm_proto.link import Link, StreamLink
from rtm_proto.package import Package
from rtm_proto.received import FileType
from rtm_proto.tracing import TracedLink
from tests.contract.world import ALICE, BOB, MAIN_PORT, Api, next_file, open_world

pytestmark = pytest.mark.anyio

KEY = PrivateKey.from_seed(bytes(range(SEED_SIZE)), Curve.SECP256K1)
BODY = os.urandom(300_000)


def encrypted(address: Address, *, stream: bool, bits: int, files: bool = True) -> Link:
    """FPNN's encryption on every link, or on the main one."""
    if not files and address.port != MAIN_PORT:
        return StreamLink()
    return EncryptedLink.client(KEY.public, seed=os.urandom(SEED_SIZE), stream=stream, bits=bits)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("bits", [128, 256])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "package"])
async def test_a_file_goes_over_encrypted_links(
    api: Api, stream: bool, bits: int, required: bool
) -> None:
    raw_link = partial(EncryptedLink.server, KEY, required=required)
    link = partial(encrypted, stream=stream, bits=bits)
    async with (
        open_world(api, raw_link=raw_link) as world,
        world.client(ALICE, link=link) as alice,
        world.client(BOB, link=link) as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, BODY)
        assert world.body(await next_file(bob.events())) == BODY


async def test_who_encrypts_and_who_does_not_meet(api: Api) -> None:
    raw_link = partial(EncryptedLink.server, KEY, required=False)
    link = partial(encrypted, stream=False, bits=128, files=False)
    async with (
        open_world(api, raw_link=raw_link) as world,
        world.client(ALICE, link=link) as alice,
        world.client(BOB) as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, BODY)
        assert world.body(await next_file(bob.events())) == BODY


async def test_a_gate_that_asks_for_encryption_refuses_who_has_none(api: Api) -> None:
    async with open_world(api, raw_link=partial(EncryptedLink.server, KEY, required=True)) as world:
        with pytest.raises(Exception, match="20013"):
            async with world.client(ALICE):
                pass


async def test_a_gate_that_cannot_decrypt_is_no_gate(api: Api) -> None:
    async with open_world(api) as world:
        with pytest.raises(ConnectFailed, match="key"):
            async with world.client(ALICE, link=partial(encrypted, stream=False, bits=128)):
                pass


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_a_hook_sees_every_package(api: Api, scheme: str) -> None:
    seen: list[tuple[str, str]] = []

    def hook(way: str, package: Package) -> None:
        if package.part <= 1:
            seen.append((way, package.method.decode()))

    def link(address: Address) -> Link:
        return TracedLink(api.make_link(address), hook)

    async with (
        open_world(api) as world,
        world.client(ALICE, scheme, link=link, file_route="direct") as alice,
    ):
        await alice.send_file(FileType.FILE, BOB, BODY)
    told = ["auth", "", "filetoken", "", "sendfile", "", "bye", ""]
    assert seen == [*zip(["out", "in"] * 4, told, strict=True)]
