"""Runs a module's own tests against its mutants, each in a forked process.

The parent has pytest loaded, and what the tests need from outside; a child puts its mutant on the
import path and imports everything of ours afresh. The mutated code is never written anywhere. CPU
seconds limit a child, not the clock, so that a busy machine changes no result.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import io
import math
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings

from .core import Module
from .mutations import Mutant

MAX_MEMORY = 2 << 30  # bytes of address space of one child: a loop without end may fill a list
MIN_SECONDS = 3  # CPU seconds that a child has at least
SLOWER = 2  # how many times as long as the unchanged module a mutant may take
EXAMPLES = 40  # of a property that does not say how many it needs
OWN_FAULT = 70  # exit status of a child that could not even start pytest
CANNOT_BE_IMPORTED = int(pytest.ExitCode.INTERRUPTED)  # as where pytest cannot import a test
NOTICED = (pytest.ExitCode.TESTS_FAILED, CANNOT_BE_IMPORTED, pytest.ExitCode.INTERNAL_ERROR)
ROOT = Path(__file__).resolve().parents[2]


class Verdict(Enum):
    """What came of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class NotRun(Exception):
    """The tests say nothing about mutants: they fail without one, or there are none."""


def verdicts(
    module: Module, tree: ast.Module, chosen: Sequence[Mutant], *, jobs: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Run the tests against each of *chosen*, mutants of *tree*, *jobs* at a time. Raises NotRun.

    What they say comes as it is known. The tests that have killed are asked first, then the quick.
    """
    with tempfile.TemporaryDirectory() as folder:
        _prepare(folder)
        yield from _verdicts(module, tree, chosen, jobs, Path(folder))


def _verdicts(
    module: Module, tree: ast.Module, chosen: Sequence[Mutant], jobs: int, folder: Path
) -> Iterator[tuple[Mutant, Verdict]]:
    status, seconds, said = _Child(module, tree, None, {}, 0, folder).wait()
    if status:
        raise NotRun(f"{module.name}: its tests fail without a mutant: {said or status}")
    limit = MIN_SECONDS + math.ceil(SLOWER * seconds)
    order = {test: float(took) for took, _, test in (line.partition(" ") for line in said)}
    running: dict[int, tuple[Mutant, _Child]] = {}
    waiting = [*reversed(chosen)]
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            child = _Child(module, tree, mutant, order, limit, folder)
            running[child.pid] = mutant, child
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        for pid in [pid for pid, (_, child) in running.items() if child.has_ended()]:
            mutant, child = running.pop(pid)
            status, _, said = child.wait()
            for test in said[:1]:
                order[test] = min(order.values()) - 1
            yield mutant, _verdict(module, mutant, status, said)


def _verdict(module: Module, mutant: Mutant, status: int, said: list[str]) -> Verdict:
    if status == 0:
        return Verdict.SURVIVED
    if status < 0:  # the kernel ended it: of its limits only the time does that
        return Verdict.TIMED_OUT
    if status not in NOTICED:
        raise NotRun(f"{module.name}: exit status {status} for {mutant.name}: {said}")
    return Verdict.KILLED


class _Child:
    """A forked process that runs the tests of *module* with *mutant* in place."""

    def __init__(
        self,
        module: Module,
        tree: ast.Module,
        mutant: Mutant | None,
        order: Mapping[str, float],
        limit: int,
        folder: Path,
    ) -> None:
        self.pid = os.fork()
        self._folder = folder / str(self.pid or os.getpid())
        self._said = self._folder / "said"
        if self.pid:
            return
        status = OWN_FAULT
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            self._folder.mkdir()
            os.chdir(self._folder)  # a mutant may write where it stands
            resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
            if limit:
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            if mutant is not None:
                mutant.apply()
            if not _is_imported(module, tree):
                status = CANNOT_BE_IMPORTED
            else:
                guide = _Guide(order, self._said, tell_times=mutant is None)
                basetemp = f"--basetemp={self._folder / 'tmp'}"
                status = _pytest(basetemp, *map(str, module.tests), plugins=[guide])
                loader = sys.modules[module.dotted].__loader__
                assert isinstance(loader, _Loader), f"the tests had {module.dotted} from {loader}"
        except BaseException:
            status = OWN_FAULT
            self._said.write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> tuple[int, float, list[str]]:
        """Exit status (less than zero: a signal), CPU seconds, and the lines it has written."""
        _, status, usage = os.wait4(self.pid, 0)
        said = self._said.read_text().splitlines() if self._said.exists() else []
        shutil.rmtree(self._folder, ignore_errors=True)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, said


class _Guide:
    """A plugin that runs the tests in *order*, and tells which one failed or how long they took."""

    def __init__(self, order: Mapping[str, float], said: Path, *, tell_times: bool) -> None:
        self._order = order
        self._said = said
        self._tell_times = tell_times

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._order.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (self._tell_times and report.when == "call"):
            took = f"{report.duration} " if self._tell_times and not report.failed else ""
            with self._said.open("a") as said:
                said.write(f"{took}{report.nodeid}\n")


def _is_imported(module: Module, tree: ast.Module) -> bool:
    """Import *module* from *tree*, and afresh what else is imported of its package.

    It has to be there before pytest is, which puts a finder of its own in front of ours.
    """
    code = compile(ast.fix_missing_locations(tree), str(module.path), "exec")
    sys.meta_path.insert(0, _Finder(module, code))
    package = module.dotted.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    try:
        importlib.import_module(module.dotted)
    except Exception:
        return False
    return True


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutated module; what else is imported is found as ever."""

    def __init__(self, module: Module, code: CodeType) -> None:
        self._module = module
        self._loader = _Loader(module.dotted, str(module.path))
        self._loader.code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module.dotted:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._module.path, loader=self._loader
        )


class _Loader(importlib.machinery.SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def _pytest(*args: str, plugins: Sequence[object] = ()) -> int:
    return pytest.main(
        [
            *("--exitfirst", "--quiet", "--no-header", "--no-summary", "--capture=no"),
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # it was loaded by the parent
            *("-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")),
            *("--rootdir", str(ROOT), "--hypothesis-profile=mutants"),
            *args,
        ],
        plugins=plugins,
    )


def _prepare(empty: str) -> None:
    """Load what every child needs, and say how hypothesis is to look for a difference."""
    settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        _pytest(empty)  # finds no tests, and leaves the plugins loaded
    for name in ("h11", "msgpack", "trio", "wsproto"):
        importlib.import_module(name)
    gc.freeze()  # so that no child walks over, and copies, what is here
