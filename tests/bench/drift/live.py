"""The drift over HTTP: a real router before emulated workers, seen from the client's side.

Three runs with the same arrivals: a router that was told the benchmarks from before the drift, the
same with a benchmark in idle slots all the time, a router that knew (its fleet was so from the
start, and it was told). All on the loopback, each bounded in time.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import numpy as np
from msgspec import Struct

from deploy.local.processes.ports import free_ports
from marketplace.benchmarks.runs.idle_slots import Traffic, must_yield
from tests.bench.drift.figures import Recovery, Samples, recovery, windows
from workers.backends.emulator.fleet import WORKERS

MODEL = "emulated/gpt-j-6b"
KEY = "drift"
SLOTS = {"emulated-h100": 1, "emulated-a100": 1, "emulated-rtx4090": 2}
"""By pool: few, so that a rate that two cores carry easily is half of the fleet's capacity."""

DRIFTS = {"emulated-h100": 4.0, "emulated-rtx4090": 0.5}
"""The fast pool becomes four times slower, the middle one of the three in size twice as fast."""

TOKENS = 4, 12
"""Fewest and most tokens of an answer."""

RATE_HZ = 40.0
BEFORE_S = 15.0
WARM_UP_S = 5.0
AFTER_S = 60.0
WIDTH_S = 15.0
"""600 calls a window: fewer say nothing of a 99th percentile."""

SLO_MS = 250.0
BENCHMARK_SPACING_S = 0.25
START_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 60.0


class Arrival(Struct, frozen=True):
    """When a call is made, and how many tokens it wants."""

    at_s: float
    tokens: int


class Outcome(Struct):
    """One run. ``failed`` counts calls that got no answer; ``measured`` those of the benchmark."""

    samples: Samples
    failed: int = 0
    measured: int = 0
    yielded: int = 0


def arrivals_of(seed: int) -> list[Arrival]:
    """A Poisson stream over the whole run."""
    rng, made, at_s = Random(seed), list[Arrival](), 0.0
    while (at_s := at_s + rng.expovariate(RATE_HZ)) < BEFORE_S + AFTER_S:
        made.append(Arrival(at_s, rng.randint(*TOKENS)))
    return made


def fleet_file(emulator: str, factors: Mapping[str, float]) -> list[dict[str, object]]:
    """Two workers of each pool, with the service times that hold under these slowdowns."""
    return [
        {
            "id": name,
            "url": f"{emulator}/{name}",
            "class": worker.pool.name,
            "slots": SLOTS[worker.pool.name],
            "model": MODEL,
            "service_ms": _service_ms(name) * factors.get(worker.pool.name, 1.0),
        }
        for name, worker in WORKERS.items()
        if worker.pool.name in SLOTS and worker.protocol == "openai"
    ]


def experiment(seed: int) -> tuple[str, bool]:
    """Run the three runs one after the other; a table, and whether it recovered in a minute."""
    outcomes = {
        "ours": asyncio.run(_run(seed, knew=False, benchmark=False)),
        "ours, with a benchmark in idle slots": asyncio.run(_run(seed, knew=False, benchmark=True)),
        "knew": asyncio.run(_run(seed, knew=True, benchmark=False)),
    }
    knew = outcomes["knew"].samples
    recoveries = {
        name: recovery([outcome.samples], [knew], to_s=AFTER_S, width_s=WIDTH_S, resamples=0)
        for name, outcome in outcomes.items()
    }
    table = _table(outcomes, recoveries)
    passed = all(recovery.after_s is not None for recovery in recoveries.values())
    return table, passed and not any(outcome.failed for outcome in outcomes.values())


async def _run(seed: int, *, knew: bool, benchmark: bool) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            emulator_port, router_port = free_ports(2)
            emulator = f"http://127.0.0.1:{emulator_port}"
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),
                    timeout=aiohttp.ClientTimeout(CALL_TIMEOUT_S),
                )
            )
            words = ["workers.backends.emulator", "--port", str(emulator_port)]
            words += ["--seed", str(seed)]
            await stack.enter_async_context(_process(words, f"{emulator}/health", session))
            if knew:
                await _drift(session, emulator)
            fleet = _written(Path(folder), emulator, DRIFTS if knew else {})
            router = f"http://127.0.0.1:{router_port}"
            words = ["router", "--fleet", str(fleet), "--port", str(router_port), "--key", KEY]
            await stack.enter_async_context(_process(words, f"{router}/readyz", session))
            return await _load(seed, session, router, emulator, drifts=not knew, measure=benchmark)


async def _load(
    seed: int,
    session: aiohttp.ClientSession,
    router: str,
    emulator: str,
    *,
    drifts: bool,
    measure: bool,
) -> Outcome:
    begun_s = time.monotonic()
    found: list[tuple[float, float]] = []
    outcome = Outcome(Samples(np.array([]), np.array([])))

    async def call(arrival: Arrival) -> None:
        answered = await _chat(session, router, arrival.tokens)
        # From the moment at which it was due: a load that lags does not flatter the router.
        ended_s = time.monotonic() - begun_s
        outcome.failed += not answered
        if answered and arrival.at_s >= WARM_UP_S:
            found.append((arrival.at_s - BEFORE_S, (ended_s - arrival.at_s) * 1e3))

    async def change() -> None:
        await asyncio.sleep(BEFORE_S)
        await _drift(session, emulator)

    async with asyncio.TaskGroup() as group:
        others = [group.create_task(change())] if drifts else []
        if measure:
            others.append(group.create_task(_measure(session, router, emulator, outcome)))
        calls: list[asyncio.Task[None]] = []
        for arrival in arrivals_of(seed):
            await asyncio.sleep(max(0.0, arrival.at_s - (time.monotonic() - begun_s)))
            calls.append(group.create_task(call(arrival)))
        await asyncio.gather(*calls)
        for other in others:
            other.cancel()
    at_s, latency_ms = np.array(sorted(found)).T
    outcome.samples = Samples(at_s, latency_ms)
    return outcome


async def _measure(
    session: aiohttp.ClientSession, router: str, emulator: str, outcome: Outcome
) -> None:
    """A benchmark beside the traffic: one request at a time, worker by worker, in idle slots."""
    headers = {"authorization": f"Bearer {KEY}"}
    place = 0
    while True:
        await asyncio.sleep(BENCHMARK_SPACING_S)
        async with session.get(f"{router}/admin/state", headers=headers) as answer:
            state = await answer.json()
        worker = state["workers"][place % len(state["workers"])]
        traffic = Traffic(worker["in_flight"], state["waiting"])
        place += 1
        if must_yield(traffic, wanted=1, slots=worker["slots"]):
            outcome.yielded += 1
        else:
            outcome.measured += await _chat(session, f"{emulator}/{worker['id']}", TOKENS[0])


async def _chat(session: aiohttp.ClientSession, base: str, tokens: int) -> bool:
    call = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "how far is it"}],
        "max_tokens": tokens,
    }
    headers = {"authorization": f"Bearer {KEY}"}
    try:
        url = f"{base}/v1/chat/completions"
        async with session.post(url, json=call, headers=headers) as answer:
            await answer.read()
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _drift(session: aiohttp.ClientSession, emulator: str) -> None:
    for name, worker in WORKERS.items():
        if worker.pool.name in DRIFTS and worker.protocol == "openai":
            faults = {"slowdown": DRIFTS[worker.pool.name]}
            async with session.post(f"{emulator}/{name}/emulator", json=faults) as answer:
                answer.raise_for_status()


@asynccontextmanager
async def _process(
    words: Sequence[str], ready_url: str, session: aiohttp.ClientSession
) -> AsyncIterator[None]:
    """``python -m <words>`` until the block ends. ``RuntimeError`` when it does not start."""
    process = _started(words)
    try:
        await _ready(process, words[0], ready_url, session)
        yield
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()


def _started(words: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _written(folder: Path, emulator: str, factors: Mapping[str, float]) -> Path:
    path = folder / "fleet.json"
    path.write_text(json.dumps(fleet_file(emulator, factors)))
    return path


async def _ready(
    process: "subprocess.Popen[bytes]", name: str, url: str, session: aiohttp.ClientSession
) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{name} did not become ready at {url}")


def _service_ms(name: str) -> float:
    profile = WORKERS[name].profile(MODEL)
    return profile.generation_s(16, sum(TOKENS) // 2, batch=1) * 1e3


def _table(outcomes: Mapping[str, Outcome], recoveries: Mapping[str, Recovery]) -> str:
    calls = sum(len(outcome.samples.at_s) + outcome.failed for outcome in outcomes.values())
    measured = outcomes["ours, with a benchmark in idle slots"]
    lines = [
        f"*Emulated*: real router, real HTTP, {RATE_HZ:g} calls a second, {calls:,} calls, SLO "
        f"{SLO_MS:g} ms. Mean / p99 in ms, share within the SLO. The benchmark made "
        f"{measured.measured} requests and stood back {measured.yielded} times.",
        "",
        "| run | before the drift | 0–15 s after | 15–60 s | failed | within 10 % of *knew* |",
        "|---|---|---|---|---|---|",
    ]
    for name, outcome in outcomes.items():
        cells = [
            _cell(outcome.samples, from_s, to_s)
            for from_s, to_s in ((WARM_UP_S - BEFORE_S, 0), (0, WIDTH_S), (WIDTH_S, AFTER_S))
        ]
        after_s = recoveries[name].after_s
        said = "never" if after_s is None else f"from the window that ends at {after_s:.0f} s"
        if name == "knew":
            cells[0], said = f"({cells[0]}, drifted already)", "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {outcome.failed} | {said} |")
    return "\n".join(lines)


def _cell(samples: Samples, from_s: float, to_s: float) -> str:
    (one,) = windows(
        [samples], from_s=from_s, to_s=to_s, width_s=to_s - from_s, step_s=1e9, slo_ms=SLO_MS
    )
    return f"{one.mean_ms:.0f} / {one.p99_ms:.0f}, {one.good:.2%}"
