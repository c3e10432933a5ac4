"""How a command ends where its streams have gone."""

from __future__ import annotations

import errno
import importlib
import io
import sys

import pytest

from rtm_proto.command import main
from rtm_proto.command.exits import Exit


class Gone(io.StringIO):
    """A stdout whose reader has left."""

    def flush(self) -> None:
        raise OSError(errno.EPIPE, "no reader")


def test_a_failure_that_programs_cannot_be_told_is_told_to_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["inspect", "--json", "no such file"]) == Exit.FILE
    assert "no such file" in capsys.readouterr().err


def test_help_that_nobody_reads_ends_as_other_programs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["--help"]) == Exit.OUTPUT_GONE


def test_help_without_a_stdout_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--help"]) == Exit.DONE


def test_the_module_does_nothing_when_it_is_only_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    importlib.import_module("rtm_proto.command.__main__")
    assert capsys.readouterr() == ("", "")
