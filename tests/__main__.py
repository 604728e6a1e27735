"""The whole test run: lanes side by side, and at the end, alone, what is about time.

The static checks begin at once. The rest waits until one process has met every test, because each
of some two hundred would otherwise compile the same modules.

The parts share a PostgreSQL and a Valkey. What a part prints is kept until it ends, then shown in
one piece. The log ends with a line for each failure and one that counts, and the exit status is 1
when anything failed.

    python -m tests             what every change must pass
    python -m tests --nightly   all of it: long forms, and examples that nobody has met before
"""

import argparse
import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.compiled import missing
from tests.browser import MISSING, chromium_path
from tests.embedded import DataServices
from tests.together import SERVERS

ROOT = Path(__file__).resolve().parent.parent
PART_TIMEOUT_S = 60 * 60
NIGHTLY_PART_TIMEOUT_S = 3 * 60 * 60
INTERRUPTED_S = 60
# Wide enough for pytest to say in one line why a test failed.
COLUMNS = 240
TOLD = ("--durations=20", "--durations-min=2", "--tb=short", "-r", "fE")

FAULTS = "tests/chaos/faults"
"""Promises that have to hold however long it takes; they mostly wait."""

FAILURE = re.compile(r"^(?:FAILED|ERROR) .+", re.MULTILINE)
FAILED_CHECK = re.compile(
    r"^make(?:\[\d+\])?: \*\*\* \[[^]]*?(check-[a-z-]+)\] Error", re.MULTILINE
)
CLOSING = re.compile(r"^=+ (.+) in [0-9.]+s .*=+$", re.MULTILINE)
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")


@dataclass(frozen=True)
class Part:
    """A command."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What became of a part."""

    part: Part
    status: int
    wall_s: float
    cpu_s: float
    output: str

    @property
    def failures(self) -> list[str]:
        """A line each."""
        if self.status == 0:
            return []
        checks = [f"FAILED {name}" for name in FAILED_CHECK.findall(self.output)]
        # Of the last summary: what a test prints may look like one.
        summary = self.output.rpartition("= short test summary info =")[2]
        told = [*checks, *(FAILURE.findall(summary) if summary != self.output else [])]
        return told or [f"FAILED {self.part.name}: exit status {self.status}, see its output"]

    @property
    def counts(self) -> Counter[str]:
        """Of tests by how they ended."""
        closing = CLOSING.findall(self.output)
        found = COUNT.findall(closing[-1]) if closing else []
        return Counter({kind.removesuffix("s"): int(count) for count, kind in found})


def pytest_part(
    name: str, *words: str, workers: int, nightly: bool, env: dict[str, str] | None = None
) -> Part:
    """The tests of some folders."""
    # `not nightly` is what pyproject.toml has pytest select.
    selected = ("-m", "", "--hypothesis-profile=nightly") if nightly else ()
    argv = (sys.executable, "-m", "pytest", "-n", str(workers), *TOLD, *selected, *words)
    return Part(name, argv, env or {})


CHECKS = Part("check", ("make", "--no-print-directory", "--keep-going", "check"))
COLLECTION = Part(
    "collection", (sys.executable, "-m", "pytest", "--collect-only", "-p", "no:terminal")
)


def lanes(*, nightly: bool) -> list[list[Part]]:
    """What runs side by side, and beside the checks, each lane one part after the other.

    Servers, browsers and faults mostly wait: they have the processors when they ask for them. What
    computes takes the time that they leave. None of it comes after the rest, so that both
    processors are busy to the end.
    """
    pure = ("tests/unit", "tests/architecture", "tests/load", "tests/simulation", "tests/judge")
    # Each worker collects all tests of a part, which takes it seconds of processor.
    unit = pytest_part("unit", *pure, workers=2 if nightly else 0, nightly=nightly)
    servers = pytest_part("servers", "--dist=loadfile", *SERVERS, workers=2, nightly=nightly)
    others = ("tests/integration/marketplace", *(f"--ignore={path}" for path in SERVERS))
    market = pytest_part("marketplace", "--dist=loadfile", *others, workers=2, nightly=nightly)
    e2e = pytest_part("e2e", "--dist=loadfile", "tests/e2e", workers=2, nightly=nightly)
    faults = pytest_part("faults", FAULTS, workers=0, nightly=nightly, env=scale(nightly))
    histories = Part("simulation", (sys.executable, "-m", "tests.simulation"))
    computing = [market], [unit, *([histories] if nightly else [])]
    # The compiler has one processor for a long time: it begins once fewer ask for them.
    last = [yielding(part) for part in compiled()] if nightly else []
    waiting = [servers], [e2e, *last], [faults]
    return [*waiting, *([yielding(part) for part in lane] for lane in computing)]


def yielding(part: Part) -> Part:
    """The same, for when nothing else asks for the processor."""
    return replace(part, argv=("nice", "-n", "5", *part.argv))


def compiled() -> list[Part]:
    """The router's own tests over its compiled build, where there can be one."""
    if missing():
        return []
    argv = (sys.executable, "-m", "deploy.compiled")
    tests = pytest_part(
        "compiled", "tests/unit/router", workers=1, nightly=False, env={"ROUTER_BUILD": "compiled"}
    )
    return [Part("compile", argv, {"ROUTER_BUILD": "plain"}), tests]


def timed(*, nightly: bool) -> Part:
    """Promises that are about time: nothing may run beside them."""
    return pytest_part("chaos", "tests/chaos/timed", workers=0, nightly=nightly, env=scale(nightly))


def scale(nightly: bool) -> dict[str, str]:
    """How long and large the faults are."""
    return {"CHAOS_SCALE": os.environ.get("CHAOS_SCALE", "10" if nightly else "1")}


def run(part: Part, timeout_s: float) -> Ended:
    """Run one to its end, which is called for after ``timeout_s``."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            # Whoever runs all this in the background has it ignore what a part is ended by.
            ["env", "--default-signal=INT", *part.argv],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": str(COLUMNS), **part.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        ends = [
            threading.Timer(timeout_s + more_s, os.kill, [process.pid, number])
            for more_s, number in ((0, signal.SIGINT), (INTERRUPTED_S, signal.SIGKILL))
        ]
        for timer in ends:
            timer.start()
        # Unlike Popen.wait, this also returns the CPU time of all its children.
        _, status, used = os.wait4(process.pid, 0)
        for timer in ends:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        cpu_s = used.ru_utime + used.ru_stime
        return Ended(part, process.returncode, time.monotonic() - began, cpu_s, output.read())


def main(argv: list[str]) -> int:
    """Run every part; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--nightly", action="store_true", help="long forms and new examples too")
    nightly = parser.parse_args(argv).nightly
    if chromium_path() is None:
        print(f"error: {MISSING}", file=sys.stderr)
        return 1
    began = time.monotonic()
    timeout_s = NIGHTLY_PART_TIMEOUT_S if nightly else PART_TIMEOUT_S
    beside = lanes(nightly=nightly)
    interrupted = threading.Event()
    # Ctrl-C reaches every part; none must begin after it.
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())

    def all_reported(lane: Iterable[Part]) -> list[Ended]:
        return [reported(part, timeout_s) for part in lane if not interrupted.is_set()]

    with contextlib.closing(DataServices()) as data:
        data.start()
        os.environ |= {"DATABASE_URL": data.database_url, "BROKER_URL": data.broker_url}
        with concurrent.futures.ThreadPoolExecutor(len(beside) + 1) as pool:
            checks = pool.submit(reported, yielding(CHECKS), timeout_s)
            ended = [reported(COLLECTION, timeout_s)]
            side_by_side = pool.map(all_reported, beside)
            ended += [checks.result(), *(part for lane in side_by_side for part in lane)]
        ended += all_reported([timed(nightly=nightly)])
    return close(ended, time.monotonic() - began) or int(interrupted.is_set())


def reported(part: Part, timeout_s: float) -> Ended:
    """Run a part, then print its output under its name."""
    print(f"… {part.name}", flush=True)
    ended = run(part, timeout_s)
    mark = "✗" if ended.status else "✓"
    took = f"{ended.wall_s:.0f} s, {ended.cpu_s:.0f} s of processor"
    # In one print: other parts print too.
    print(f"\n──── {part.name}\n{ended.output.rstrip()}\n{mark} {part.name}: {took}\n", flush=True)
    return ended


def close(ended: Iterable[Ended], wall_s: float) -> int:
    """The end of the log: a line for each failure, then the counts as pytest words them."""
    failures = [line for part in ended for line in part.failures]
    counts: Counter[str] = sum((part.counts for part in ended), Counter())
    unnamed = len(failures) - counts["failed"] - counts["error"]
    counts["failed"] += max(unnamed, 0)
    if failures:
        print(" short test summary info ".center(100, "="))
        print("\n".join(failures))
    order = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")
    totals = ", ".join(f"{counts[kind]} {kind}" for kind in order if counts[kind])
    minutes, seconds = divmod(int(wall_s), 60)
    print(f" {totals} in {wall_s:.2f}s (0:{minutes:02}:{seconds:02}) ".center(100, "="))
    return 1 if any(part.status for part in ended) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
