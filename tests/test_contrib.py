"""What comes along for those who run a gate as a service: checked as far as it can be here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtm_proto.command.gate_options import OPTIONS
from rtm_proto.command.parser import parse

CONTRIB = Path(__file__).parent.parent / "contrib"
UNIT = CONTRIB / "rtm-gate.service"
CONTAINER = CONTRIB / "Containerfile"
VARIABLES = {option.variable for option in OPTIONS}
RTM = "/opt/rtm-gate/bin/rtm"


def systemd(*argv: str) -> str:
    """What systemd-analyze says."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze here")
    done = subprocess.run([program, *argv], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unit_here(tmp_path: Path) -> str:
    """The unit as it would be if the gate were installed where this Python is."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace(RTM, sys.executable))
    return str(path)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    assert systemd("verify", unit_here(tmp_path)) == ""


def test_the_unit_leaves_little_to_reach(tmp_path: Path) -> None:
    said = systemd("security", "--offline=true", "--no-pager", unit_here(tmp_path))
    exposure = re.search(r"Overall exposure level for rtm-gate.service: ([0-9.]+)", said)
    assert exposure is not None and float(exposure[1]) <= 1.5, said


def commands(text: str) -> list[list[str]]:
    """The command lines of ``rtm`` in a unit."""
    found = re.findall(rf"^ExecStart(?:Pre)?={RTM} (.*)$", text, re.MULTILINE)
    return [line.split() for line in found]


def test_the_commands_of_the_unit_are_good() -> None:
    text = UNIT.read_text()
    lines = commands(text)
    assert [line[:2] for line in lines] == [["gate", "check"], ["gate", "--config"]]
    for line in lines:
        argv = [str(CONTRIB / "gate.toml") if word.startswith("/etc/") else word for word in line]
        parse(argv, {}, program="rtm", runtime=None)
    assert "Type=notify" in text, "it says READY=1 and STOPPING=1 (rtm_proto.command.notify)"


@pytest.mark.parametrize("path", [UNIT, CONTAINER], ids=["unit", "container"])
def test_every_variable_that_is_set_is_an_option(path: Path) -> None:
    found = set(re.findall(r"RTM_GATE_[A-Z_]*[A-Z]", path.read_text()))
    assert found and found <= VARIABLES


def test_the_container_has_all_that_it_takes() -> None:
    text = CONTAINER.read_text()
    lines = [line for line in text.splitlines() if line and line[0] not in "# "]
    assert {line.split()[0] for line in lines} == {
        *("FROM", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"),
        *("HEALTHCHECK", "ENTRYPOINT"),
    }
    assert lines.index("USER gate") < lines.index('ENTRYPOINT ["rtm", "gate"]')
    given = dict(re.findall(r"(RTM_GATE_[A-Z_]+)=\"?([^\" \\\n]+)", text))
    environ = {name: value for name, value in given.items() if name in VARIABLES}
    environ |= {"RTM_GATE_PID": "1"}
    parse(["gate"], environ, program="rtm", runtime=None)
    assert f"127.0.0.1:{environ['RTM_GATE_WATCH_PORT']}/healthz" in text
    ports = re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert ports is not None
    usual = [o.default for o in OPTIONS if o.key.endswith("_port") or o.key == "port"]
    assert {int(port) for port in ports[1].split()} == {p for p in usual if isinstance(p, int)}
