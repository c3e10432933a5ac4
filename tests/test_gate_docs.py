"""docs/gate.md says what is so: its commands, options, figures, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from rtm_proto.command.config import gate_options
from rtm_proto.command.gate_options import OPTIONS
from rtm_proto.command.kinds import shown
from rtm_proto.command.parser import parse
from rtm_proto.gate.settings import Port
from tests.test_gate import AUTH, Guest
from tests.test_gate_watch import page
from tests.world import World

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "gate.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ rtm (.*)$", TEXT, re.MULTILINE)
USUAL: Mapping[str, object] = {option.key: option.default for option in OPTIONS}


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 13


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one(command: str, tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(toml())
    argv = [str(config) if word == "gate.toml" else word for word in shlex.split(command)]
    parse(argv, {}, program="rtm", runtime=None)


def toml() -> str:
    """The configuration that is shown."""
    [found] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert isinstance(found, str)
    return found


def test_the_configuration_is_good(tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(toml())
    options = gate_options({}, {}, str(config))
    assert (options.host, options.watch_port) == (("0.0.0.0", "::"), 9310)


def test_every_figure_is_told_and_every_one_told_of_is_there() -> None:
    world = World()
    Guest(world).ask("auth", dict(AUTH))
    said = page(world, "/metrics", port=Port.WATCH)
    there = set(re.findall(r"^# TYPE (\w+)", said, re.MULTILINE))
    assert set(re.findall(r"rtm_gate_\w+", TEXT)) == there


def test_every_option_named_is_one_and_has_the_default_that_is_told() -> None:
    keys = set(USUAL)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT))
    named = {name for name in named if not name.startswith(("rtm_", "open_", "serve_"))}
    assert named <= keys, named - keys
    for key, seconds in re.findall(r"`(\w+)`,? \(?(\d+) s\b", TEXT):
        assert shown(USUAL[key]) == seconds, key
    for port, key in re.findall(r"^\| (\d+) \| .* \| `(\w+)` \|$", TEXT, re.MULTILINE):
        assert str(USUAL[key]) == port
    assert "(\n12,000 and 1,000" in TEXT or "(12,000 and 1,000" in TEXT
    assert (USUAL["max_connections"], USUAL["max_per_address"]) == (12_000, 1_000)


def test_every_file_it_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (DOCS / target).exists(), target
