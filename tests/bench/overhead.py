"""``python -m tests.bench.overhead``: where the time of one call goes, in microseconds of CPU.

A router alone (key check, hold, schedule with the decision recorded, settle) serves plain calls
before workers that answer at once; worker and load are another process on another core. A timer on
the process's CPU time interrupts it a thousand times a second; each sample counts for the step
whose code runs, time in the kernel and in C included. ``--write FILE`` puts the table between the
markers of a document.

With ``--journal`` finished calls go through a journal on disk and are settled in batches, as beside
a marketplace; the batches are encoded for the ledger, and then nobody has them.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from router.__main__ import calm_garbage_collector
from router.adapters.file_disk import FileDisk, LineFile
from router.adapters.memory import (
    UNLIMITED_NANO,
    MemoryBank,
    MemoryIdempotencyStore,
    MemoryLedger,
    MemorySnapshotSource,
)
from router.adapters.memory_responses import MemoryResponseStore
from router.adapters.static_fleet import load_fleet
from router.app import open_vault, serve, serve_http
from router.compose import Stores
from router.contracts.record import UsageRecord, encode_records
from router.metering.journal import Journal
from router.metering.settler import Settler
from router.settings import Settings, standalone_settings
from tests.bench import plain_calls

SAMPLE_S = 0.001
WORKERS = 12
KEY = "k"
WARM_UP_S = 1.0
MARKERS = "<!-- overhead: begin -->", "<!-- overhead: end -->"
STEPS = (
    ("HTTP of the client", r"ingress/http/"),
    ("paths and parsing", r"ingress/|domain/ids"),
    ("authenticate", r"pipeline/access/|domain/keys"),
    ("plan", r"pipeline/plans/|domain/pricing"),
    ("hold and count tokens", r"pipeline/holds/|metering/(vault|lease)"),
    ("journal", r"metering/"),
    ("schedule", r"scheduling/|pipeline/attempts/dispatch"),
    ("attempts", r"pipeline/attempts/"),
    ("worker's protocol", r"upstream/openai_http|upstream/sse|contracts/bodies/"),
    ("HTTP of the worker", r"upstream/"),
    ("answer's headers and cost", r"pipeline/settlement/route_report|contracts/cost"),
    ("settle and record", r"pipeline/(settlement|recorders)/|compose\.py|contracts/"),
    ("the line itself", r"pipeline/gateway"),
)
LOOP = "event loop and sockets"


class Sampler:
    """Counts which step runs whenever the timer fires."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._steps = [(name, re.compile(pattern)) for name, pattern in STEPS]
        self._of_file: dict[str, str | None] = {}

    def start(self) -> None:
        """Begin to sample."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def stop(self) -> None:
        """Sample no more."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        step = None
        while frame is not None and step is None:
            step = self._step(frame.f_code.co_filename)
            frame = frame.f_back
        self.counts[step or LOOP] += 1

    def _step(self, path: str) -> str | None:
        if path not in self._of_file:
            inside = path.rpartition("/router/")[2] if "/router/" in path else ""
            # The loop runs below `serve`, which is waiting all the time.
            found = (name for name, pattern in self._steps if inside and pattern.match(inside))
            self._of_file[path] = None if inside == "__main__.py" else next(found, None)
        return self._of_file[path]


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--port", type=int, default=18_800)
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--journal", action="store_true")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return uvloop.run(_load(options))
    table = _measure(options)
    print(table)
    if options.write is not None:
        text = options.write.read_text()
        begin, end = MARKERS
        head, _, rest = text.partition(begin)
        options.write.write_text(f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}")
    return 0


def _measure(options: argparse.Namespace) -> str:
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder, "fleet.json")
        url = f"http://127.0.0.1:{options.port + 1}"
        fleet.write_text(
            json.dumps(
                [{"id": f"w{i}", "url": url, "class": "Z", "slots": 1_000} for i in range(WORKERS)]
            )
        )
        command = [sys.executable, "-m", "tests.bench.overhead", "--load"]
        command += ["--port", str(options.port), "--seconds", str(options.seconds)]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(0, {cores[0]})
        calm_garbage_collector()
        sampler = Sampler()
        settings = standalone_settings(
            fleet_path=fleet, host="127.0.0.1", port=options.port, key=KEY
        )

        async def run() -> float:
            line = _with_journal(settings, fleet, folder) if options.journal else serve(settings)
            serving = asyncio.ensure_future(line)
            await asyncio.to_thread(load.stdout.readline)
            sampler.start()
            before_s = time.process_time()
            await asyncio.to_thread(load.stdout.readline)
            sampler.stop()
            spent_s = time.process_time() - before_s
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            return spent_s

        spent_s = uvloop.run(run())
        rate = float(load.communicate()[0])
    return _table(sampler.counts, spent_s, rate, options.seconds)


class Nobody:
    """A ledger that is given what PostgreSQL would be, and keeps nothing."""

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        encode_records(records)


async def _with_journal(settings: Settings, fleet: Path, folder: str) -> None:
    """The router alone, but for its recorder."""
    snapshot = load_fleet(fleet, key=KEY, key_pepper=settings.key_pepper, now_ms=0)
    ledger = MemoryLedger(clock=time.time, default_nano=UNLIMITED_NANO)
    bank = MemoryBank(ledger, router_id=settings.router_id)
    vault = open_vault(bank, settings.limits)
    settler = Settler(
        Journal(FileDisk(Path(folder, "journal"))),
        Nobody(),
        settled=lambda record: vault.book.acknowledge(record.lease_id),
        set_aside=LineFile(Path(folder, "rejected.jsonl")).append,
        unsettled_max=settings.limits.unsettled_max,
    )
    async with asyncio.TaskGroup() as group:
        settling = group.create_task(settler.run())
        try:
            answers = MemoryIdempotencyStore(time.monotonic)
            source = MemorySnapshotSource(snapshot)
            responses = MemoryResponseStore(time.monotonic)
            stores = Stores(vault, settler, ledger, answers, responses, source)
            await serve_http(settings, stores)
        finally:
            settling.cancel()


def _table(counts: Counter[str], spent_s: float, rate: float, seconds: float) -> str:
    total, call_us = counts.total(), spent_s / (rate * seconds) * 1e6
    lines = ["| step | µs | share |", "|---|---|---|"]
    for step, count in counts.most_common():
        share = count / total
        lines.append(f"| {step} | {share * call_us:.0f} | {share:.0%} |")
    lines.append(f"| **all** ({rate:,.0f} calls/s, {total} samples) | **{call_us:.0f}** | |")
    return "\n".join(lines)


async def _load(options: argparse.Namespace) -> int:
    """The other process: the workers and the callers."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    loop = asyncio.get_running_loop()
    path = "/v1/chat/completions"
    await loop.create_server(plain_calls.Worker, "127.0.0.1", options.port + 1)
    headers = f"authorization: Bearer {KEY}\r\n"
    await plain_calls.answers(options.port, path, headers)
    await plain_calls.load(options.port, path, WARM_UP_S, headers)
    print("warm", flush=True)
    rate: Any = await plain_calls.load(options.port, path, options.seconds, headers)
    print("done", flush=True)
    print(rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
