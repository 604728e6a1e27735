"""``python -m tests.bench.agreement``: one load by LoadGen and by Locust, side by side.

A closed load of one call and of eight at once, and Poisson arrivals, against an emulated worker.
The two take turns, so that what the machine does meanwhile meets both; Locust sends when LoadGen
sent. Shown are mean, 90th and 99th percentile of whole calls and of first tokens with 95 %
intervals (percentile bootstrap), and how far apart they are. ``--write FILE`` puts the table
between the markers of a document. Exit status 1 when a difference is beyond 5 % and its interval
does not hold 5 % either.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import structs

from deploy.local.processes.ports import free_ports
from tests.bench.agreement.load import Asked, Timed, by_loadgen, by_locust
from tests.bench.drift.__main__ import write_between

ASKED_SHARE = 0.05
ROUNDS = 4
"""Short turns: what the machine does meanwhile is spread over both."""

P99_SAMPLES_MIN = 500
"""Fewer calls say nothing of a 99th percentile."""

SLOWDOWN = 8.0
"""The worker is slowed so that the noise of a small, shared machine is little beside its times."""

SINGLE_SHARE = 5
"""One call at a time is slow to measure: so many times fewer of them."""

RESAMPLES = 1_000
WORKER = "emulated-h100-0"
START_TIMEOUT_S = 60.0
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda values: float(values.mean()),
    "p90": lambda values: float(np.quantile(values, 0.9)),
    "p99": lambda values: float(np.quantile(values, 0.99)),
}


def main() -> int:
    """Measure, print, write where asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agreement", description=__doc__)
    parser.add_argument("--samples", type=int, default=200, help="calls of each in a turn")
    parser.add_argument("--users", type=int, default=8, help="calls at once")
    parser.add_argument("--rate", type=float, default=20.0, help="arrivals a second")
    parser.add_argument("--write", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "workers.backends.emulator", "--port", str(port)]
    emulator = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until_ready(f"http://127.0.0.1:{port}/health")
        url = f"http://127.0.0.1:{port}/{WORKER}"
        _slow_down(url)
        single, samples, users = options.samples // SINGLE_SHARE, options.samples, options.users
        text, agreed = _compare(
            {
                "one call at a time": Asked(url, single, users=1),
                f"{users} calls at once": Asked(url, samples, users=users),
                f"Poisson, {options.rate:g}/s": Asked(url, samples, rate_hz=options.rate),
            }
        )
    finally:
        emulator.terminate()
        emulator.wait(10)
    print(text)
    if options.write is not None:
        write_between(options.write, "agreement", text)
    return 0 if agreed else 1


def apart(one: np.ndarray, other: np.ndarray, of: Callable[[np.ndarray], float]) -> np.ndarray:
    """``of(other) / of(one) − 1`` and its 95 % interval, by the percentile bootstrap."""
    rng = np.random.default_rng(1)
    drawn = [
        of(rng.choice(other, len(other))) / of(rng.choice(one, len(one))) - 1
        for _ in range(RESAMPLES)
    ]
    return np.array([of(other) / of(one) - 1, *np.quantile(drawn, [0.025, 0.975])])


def interval(values: np.ndarray, of: Callable[[np.ndarray], float]) -> str:
    """The figure with its 95 % interval, in ms."""
    rng = np.random.default_rng(1)
    drawn = [of(rng.choice(values, len(values))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{of(values):.1f} [{low:.1f}, {high:.1f}]"


def _compare(loads: dict[str, Asked]) -> tuple[str, bool]:
    lines = [
        "*Emulated* worker. Milliseconds with 95 % intervals; apart: Locust over LoadGen.",
        "",
        "| load | figure | LoadGen | Locust | apart |",
        "|---|---|---|---|---|",
    ]
    agreed, late = True, list[str]()
    for name, asked in loads.items():
        loadgen, locust = _in_turns(asked)
        for column, timed in enumerate(("first token", "whole call")):
            one, other = loadgen[:, column], locust[:, column]
            for figure, of in STATISTICS.items():
                if figure == "p99" and len(one) < P99_SAMPLES_MIN:
                    continue
                share, low, high = apart(one, other, of)
                agreed &= low <= ASKED_SHARE and high >= -ASKED_SHARE
                lines.append(
                    f"| {name} ({len(one):,} calls each) | {timed}, {figure} | "
                    f"{interval(one, of)} | {interval(other, of)} | "
                    f"{share:+.1%} [{low:+.1%}, {high:+.1%}] |"
                )
        late_ms = locust[:, 2]
        late.append(f"{name} {late_ms.mean():.1f} (p99 {np.quantile(late_ms, 0.99):.1f})")
    lines += ["", f"How late Locust sent, not in its times, mean ms: {'; '.join(late)}."]
    return "\n".join(lines), bool(agreed)


def _in_turns(asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    loadgen: list[Timed] = []
    locust: list[Timed] = []
    for turn in range(1, ROUNDS + 1):
        timed = by_loadgen(structs.replace(asked, seed=turn))
        arrivals_s = (
            tuple(sample.sent_s - timed[0].sent_s for sample in timed) if asked.rate_hz else ()
        )
        loadgen += timed
        locust += by_locust(structs.replace(asked, arrivals_s=arrivals_s))
    return _table(loadgen), _table(locust)


def _table(timed: Sequence[Timed]) -> np.ndarray:
    return np.array([[sample.first_ms, sample.total_ms, sample.late_ms] for sample in timed])


def _slow_down(worker_url: str) -> None:
    body = json.dumps({"slowdown": SLOWDOWN}).encode()
    with urllib.request.urlopen(f"{worker_url}/emulator", data=body, timeout=10):
        pass


def _until_ready(url: str) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"the emulator did not become ready at {url}")


if __name__ == "__main__":
    sys.exit(main())
