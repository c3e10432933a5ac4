"""``./dev fuzz``: let atheris look for faults, target by target, and say what came of it.

    ./dev fuzz                                    every target, a minute in all
    ./dev fuzz payload gate --seconds 600         these two, five minutes each
    ./dev fuzz payload --replay FILE              one input again, without atheris

What a run has learned stays in tests/fuzz/corpus, what it has found in tests/fuzz/findings; git
ignores both. Exit status: 0 nothing found, 1 a finding, 2 usage, 3 atheris is not installed.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from . import worker
from .seeds import MAX_SIZE, dictionary, seeds
from .targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
FINDINGS = FOLDER / "findings"
CORPUS = FOLDER / "corpus"
MAX_RSS = 512  # MiB of one target; Python, atheris and the seeds take about 100
MAX_INPUT_TIME = 10  # seconds that one input may take
PATIENCE = 120  # seconds that a target may need besides: to start, and to read its corpus
SHOWN_LINES = 30  # of what a worker said, where it found something

_STAT = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_EDGES = re.compile(r"\bcov: (\d+)")
_DONE = re.compile(r"^#(\d+)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target; ``fault`` is empty where nothing was found."""

    target: str
    executions: int
    seconds: float
    edges: int
    rss: int
    findings: list[Path]
    fault: str


def main(args: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description="Look for faults.")
    parser.add_argument("targets", metavar="TARGET", nargs="*", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="in all (default 60)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input again")
    options = parser.parse_args(args)
    targets: list[str] = options.targets or [*TARGETS]
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}: there are {', '.join(TARGETS)}")
    if options.replay is not None:
        if len(options.targets) != 1:
            parser.error("--replay needs one TARGET")
        return replay(targets[0], options.replay)
    if options.seconds < len(targets):
        parser.error(f"{len(targets)} targets need at least {len(targets)} seconds")
    if not worker.is_installed():
        here = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
        print(
            "fuzz: atheris has wheels for CPython 3.11 to 3.14 on Linux x86_64 only, this is"
            f" {here} {platform.machine()}; without it: ./dev test tests/test_fuzz_targets.py",
            file=sys.stderr,
        )
        return 3
    results: list[Result] = []
    for target in targets:
        print(f"fuzz: {target} ...", file=sys.stderr, flush=True)
        results.append(fuzz(target, options.seconds // len(targets)))
    print(table(results))
    return 1 if any(result.fault for result in results) else 0


def fuzz(target: str, seconds: int) -> Result:
    """Let atheris look for faults of *target*; a fault ends it early."""
    corpus = CORPUS / target
    corpus.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    before = {*FINDINGS.iterdir()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun_with = folder / "seeds"
        begun_with.mkdir()
        for number, data in enumerate(seeds(target)):
            (begun_with / f"{number:04}").write_bytes(data)
        (folder / "words").write_text(dictionary())
        program = [
            *(sys.executable, "-m", "tests.fuzz.worker", target),
            *(str(corpus), str(begun_with)),
            f"-max_total_time={seconds}",
            f"-max_len={MAX_SIZE}",
            f"-rss_limit_mb={MAX_RSS}",
            f"-timeout={MAX_INPUT_TIME}",
            f"-dict={folder / 'words'}",
            f"-artifact_prefix={FINDINGS / target}-",
            "-print_final_stats=1",
        ]
        began = time.monotonic()
        with (folder / "said").open("w+", errors="replace") as said:
            try:
                status = subprocess.run(
                    program, cwd=ROOT, stdout=said, stderr=said, timeout=seconds + PATIENCE
                ).returncode
            except subprocess.TimeoutExpired:
                status = -1
            said.seek(0)
            text = said.read()
    stats = {name: int(value) for name, value in _STAT.findall(text)}
    fault = ""
    if status:
        fault = "\n".join(text.splitlines()[-SHOWN_LINES:]) or f"exit status {status}"
    return Result(
        target=target,
        executions=stats.get("number_of_executed_units", _last(_DONE, text)),
        seconds=time.monotonic() - began,
        edges=_last(_EDGES, text),
        rss=stats.get("peak_rss_mb", 0),
        findings=sorted({*FINDINGS.iterdir()} - before),
        fault=fault,
    )


def table(results: list[Result]) -> str:
    """The results, a line each; below it what was found, and how to see it again."""
    lines = [
        f"{'target':<12} {'executions':>12} {'exec/s':>8} {'edges':>6} {'peak MiB':>9} {'found':>6}"
    ]
    for result in results:
        rate = result.executions / result.seconds
        found = max(len(result.findings), 1 if result.fault else 0)
        lines.append(
            f"{result.target:<12} {result.executions:>12,} {rate:>8,.0f} {result.edges:>6,}"
            f" {result.rss:>9} {found:>6}"
        )
    total = sum(result.executions for result in results)
    lines.append(f"{'all':<12} {total:>12,}")
    for result in results:
        if result.fault:
            lines.append(f"\n== {result.target}\n{result.fault}")
        for path in result.findings:
            lines.append(f"./dev fuzz {result.target} --replay {path.relative_to(ROOT)}")
    return "\n".join(lines)


def replay(target: str, path: Path) -> int:
    """Run one input again and show what it does."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        print(f"fuzz: {path} cannot be read: {exc.strerror}", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        TARGETS[target](data)
    except Exception:
        traceback.print_exc()
        return 1
    print(f"no fault: {target} took {len(data)} bytes in {time.monotonic() - began:.3f} s")
    return 0


def _last(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.findall(text)
    return int(found[-1]) if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
