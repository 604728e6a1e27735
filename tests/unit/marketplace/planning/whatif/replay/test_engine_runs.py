"""Recorded calls replayed on engines, and on the emulator's, which they were recorded of."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from marketplace.benchmarks.profiles.engine_figures import EngineFigures, Sum
from marketplace.benchmarks.recorded_calls.fleet import Basis, Fleet, Part
from marketplace.benchmarks.recorded_calls.sizes import RecordedCall
from marketplace.planning.whatif.replay.engine_runs import engines_simulated
from router.domain.catalog import Policy
from router.domain.pricing import Price, Usage
from router.simulator.workload import Arrival
from tests.simulation.virtual_time import run
from workers.backends.emulator.fleet import WORKERS
from workers.backends.emulator.prompt import BYTES_PER_TOKEN, generation
from workers.backends.emulator.roofline import REQUEST_OVERHEAD_S
from workers.backends.emulator.worker import RunningWorker

MODEL = "emulated/llama-2-70b-chat"
SYSTEM_TOKENS = 320
POLICY = Policy(1, 1, MODEL)


def figures_of(worker: str) -> EngineFigures:
    """What the emulator reports about itself."""
    received = WORKERS[worker].engines()[MODEL]
    first, step = Sum(received["first"], (True,) * 3, 0.0), Sum(received["step"], (True,) * 4, 0.0)
    return EngineFigures(first, step, 0, received["sequences"], 128.0, 1.0, received["kv_tokens"])


def part(pool: str = "emulated-h100", workers: int = 1, **changes: object) -> Part:
    made = Part(
        deployment_id=len(pool),
        provider="p",
        pool=pool,
        hardware=pool,
        emulated=True,
        workers=tuple(f"{pool}.{n}" for n in range(workers)),
        slots=(64,) * workers,
        service_ms=1_000.0,
        batch_curve=(),
        basis=Basis.PROFILE,
        source="",
        samples=0,
        price=Price(0),
        price_nano=0,
        cost_nano_per_hour=0,
        engine=figures_of(f"{pool}-0"),
    )
    return replace(made, **changes)


def asked(rate_hz: float, count: int, seed: int = 1) -> list[RecordedCall]:
    """Poisson arrivals of chat calls behind one system prompt."""
    rng, at_s = Random(seed), 0.0
    calls = []
    for _ in range(count):
        at_s += rng.expovariate(rate_hz)
        own = min(int(rng.lognormvariate(5.5, 0.7)), 2_000)
        answer = min(max(int(rng.lognormvariate(4.5, 0.6)), 4), 500)
        usage = Usage(prompt_tokens=own, cached_tokens=SYSTEM_TOKENS, completion_tokens=answer)
        calls.append(RecordedCall(at_s=at_s, usage=usage))
    return calls


def mean_s(calls: Sequence[RecordedCall], *parts: Part, scale: float = 1.0) -> float:
    arrivals = [Arrival(call.at_s / scale, 1.0, 0.0, tenant=1) for call in calls]
    made = engines_simulated(calls, arrivals, Fleet(parts), POLICY, seed=1)
    return float(np.nanmean(made.latency_s))


def emulated_s(
    calls: Sequence[RecordedCall], worker: str = "emulated-h100-0"
) -> tuple[float, float]:
    """Mean time of the calls on the emulator's own worker, and the share that was cached."""

    async def call(engine_of: RunningWorker, number: int, one: RecordedCall) -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(one.at_s)
        begun_s = loop.time()
        own = number.to_bytes(BYTES_PER_TOKEN) * one.usage.prompt_tokens
        prompt = bytes(SYSTEM_TOKENS * BYTES_PER_TOKEN) + own
        sequence = generation(prompt, bytes(one.usage.completion_tokens * BYTES_PER_TOKEN))
        await engine_of.spend(REQUEST_OVERHEAD_S)
        with engine_of.engine(MODEL).answering(sequence, streams=False) as answer:
            await answer.whole()
        return loop.time() - begun_s, sequence.cached_tokens

    async def all_() -> list[tuple[float, int]]:
        running = RunningWorker(WORKERS[worker], seed=1)
        return await asyncio.gather(*(call(running, n, item) for n, item in enumerate(calls)))

    seen = run(all_())
    tokens = sum(item.usage.prompt_tokens + item.usage.cached_tokens for item in calls)
    took_s = sum(one_s for one_s, _ in seen) / len(seen)
    return took_s, sum(cached for _, cached in seen) / tokens


@pytest.mark.parametrize(
    ("worker", "rate_hz"),
    [("emulated-h100-0", 4.0), ("emulated-h100-0", 12.0), ("emulated-a100-0", 3.0)],
)
def test_a_replay_takes_as_long_as_the_emulator_does(worker: str, rate_hz: float) -> None:
    calls = asked(rate_hz, 400)
    real_s, hits = emulated_s(calls, worker)
    assert hits > 0.3
    pool = worker.removesuffix("-0")
    assert mean_s(calls, part(pool)) == pytest.approx(real_s, rel=0.1)


def test_another_engine_helps_and_one_less_hurts() -> None:
    calls = asked(24.0, 600)
    two = mean_s(calls, part(workers=2))
    assert mean_s(calls, part(workers=3)) < 0.95 * two
    assert mean_s(calls, part(workers=1)) > 1.3 * two


def test_twice_the_load_slows_all_without_filling_any_slot() -> None:
    calls = asked(4.0, 400)
    once, twice = mean_s(calls, part()), mean_s(calls, part(), scale=2.0)
    assert once * 1.05 < twice < once * 2


def test_a_slower_engine_gets_less_and_takes_longer() -> None:
    calls = asked(8.0, 400)
    fast, slow = part("emulated-h100"), part("emulated-a100")
    arrivals = [Arrival(call.at_s, 1.0, 0.0, tenant=1) for call in calls]
    made = engines_simulated(calls, arrivals, Fleet((fast, slow)), POLICY, seed=1)
    shares = {str(pool): float(np.mean(made.pools == pool)) for pool in set(made.pools)}
    assert shares["emulated-h100"] > shares.get("emulated-a100", 0.0)
    assert mean_s(calls, slow) > 1.3 * mean_s(calls, fast)


def test_a_small_cache_makes_calls_wait() -> None:
    calls = asked(12.0, 400)
    room = replace(figures_of("emulated-h100-0"), kv_tokens=6_000)
    assert mean_s(calls, part(engine=room)) > 1.2 * mean_s(calls, part())


def test_what_was_cached_is_computed_once() -> None:
    calls = asked(8.0, 400)
    cold = [
        replace(
            call,
            usage=Usage(
                prompt_tokens=call.usage.prompt_tokens + SYSTEM_TOKENS,
                completion_tokens=call.usage.completion_tokens,
            ),
        )
        for call in calls
    ]
    assert mean_s(cold, part()) > 1.02 * mean_s(calls, part())


def test_many_tokens_are_simulated_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(8.0, 400)
    one_by_one = mean_s(calls, part())
    monkeypatch.setattr("marketplace.planning.whatif.replay.engine_runs.EVENTS_MAX", 12_000)
    assert mean_s(calls, part()) == pytest.approx(one_by_one, rel=0.1)
