"""Recorded calls on LLM engines, under virtual time. Pure.

A profile says how long an engine's steps take (``EngineFigures``). So each request slows those that
run beside it, and prompts hold up answers. Prompts are not recorded: the cached part of one is
taken to be a beginning that all calls of its organisation share.
"""

from collections.abc import Callable, Sequence
from math import ceil, inf

import msgspec

from marketplace.benchmarks.recorded_calls.fleet import Fleet, Part
from marketplace.benchmarks.recorded_calls.sizes import RecordedCall
from marketplace.planning.engine_specs import CLIENT_TIMEOUT_S, NO_LOAD, fixed_s, spec_of
from marketplace.planning.whatif.replay.runs import (
    QUEUE_MAX,
    QUEUE_WAIT_S,
    Run,
    Simulate,
    Simulated,
    run_of,
    simulated,
)
from router.domain.catalog import Deployment, Policy
from router.domain.pricing import Price
from router.simulator.engines.batching import EngineSpec
from router.simulator.engines.scenarios import EngineScenario
from router.simulator.engines.scheduled import MODEL, Scheduled
from router.simulator.engines.sessions import alone
from router.simulator.engines.simulation import Call, EngineResult, simulate_engines
from router.simulator.workload import Arrival

EVENTS_MAX = 400_000
"""Up to so many tokens of all answers are simulated one by one, more of them several at a time, so
that a run ends within seconds.
"""


def simulation_of(*fleets: Fleet) -> Simulate:
    """Engines if every pool of the fleets is known as one, else slots."""
    return engines_simulated if all(fleet.are_engines for fleet in fleets) else simulated


def engines_simulated(
    calls: Sequence[RecordedCall],
    arrivals: Sequence[Arrival],
    fleet: Fleet,
    policy: Policy,
    *,
    seed: int,
    tick: Callable[[int], None] = lambda _: None,
) -> Run:
    """As :func:`~marketplace.planning.whatif.replay.runs.simulated`, of a fleet of engines."""
    parts = [part for part in fleet.parts for _ in part.workers]
    event_tokens = ceil(sum(map(_answer_tokens, calls)) / EVENTS_MAX)
    room = max(_prompt_tokens(call) + _answer_tokens(call) + event_tokens for call in calls)
    engines = tuple(
        spec
        for part in fleet.parts
        for spec in specs_of(part, event_tokens=event_tokens, kv_tokens_min=room)
    )
    sessions = [
        alone(
            number,
            arrival.at_s,
            _prompt_tokens(call),
            ceil(_answer_tokens(call) / event_tokens),
            shared=arrival.tenant,
            shared_tokens=call.usage.cached_tokens,
            tenant=arrival.tenant,
        )
        for number, (call, arrival) in enumerate(zip(calls, arrivals, strict=True))
    ]
    scenario = EngineScenario(
        "replay", "recorded calls", engines, NO_LOAD, inf, client_timeout_s=CLIENT_TIMEOUT_S
    )
    placer = _Ticking(
        msgspec.structs.replace(policy, model=MODEL, shared=False),
        seed,
        engine="vLLM",
        catalog={part.pool: _deployment(part) for part in fleet.parts},
        queue_max=QUEUE_MAX,
        queue_wait_s=QUEUE_WAIT_S,
    )
    placer.tick = tick
    results = simulate_engines(scenario, placer, seed, sessions)
    return run_of(calls, arrivals, (_simulated(result, parts) for result in results))


def specs_of(part: Part, *, event_tokens: int, kv_tokens_min: int) -> list[EngineSpec]:
    """Its workers as the simulator has engines. Raises ``ValueError`` where it has none."""
    if part.engine is None:
        raise ValueError(f"pool {part.pool!r} is not known as an engine")
    return [
        spec_of(
            part.engine,
            name=name,
            kind=part.pool,
            sequences_max=slots,
            event_tokens=event_tokens,
            kv_tokens_min=kv_tokens_min,
        )
        for name, slots in zip(part.workers, part.slots, strict=True)
    ]


class _Ticking(Scheduled):
    """Tells how many calls have come."""

    tick: Callable[[int], None]
    _arrived = 0

    def arrived(self, call: Call) -> None:
        """See :class:`~router.simulator.engines.simulation.Placer`."""
        if not self._arrived % 64:
            self.tick(self._arrived)
        self._arrived += 1
        super().arrived(call)


def _deployment(part: Part) -> Deployment:
    """The router knows the engine from its traffic, so it gets it at once."""
    return Deployment(
        id=part.deployment_id,
        model=MODEL,
        provider=part.provider,
        provider_account_id=0,
        pool=part.pool,
        upstream_model=MODEL,
        price=Price(part.deployment_id, request_nano=part.price_nano),
        engine_prior=part.engine.curve if part.engine else None,
    )


def _prompt_tokens(call: RecordedCall) -> int:
    return max(call.usage.prompt_tokens + call.usage.cached_tokens, 1)


def _answer_tokens(call: RecordedCall) -> int:
    return max(call.usage.completion_tokens + call.usage.reasoning_tokens, 1)


def _simulated(result: EngineResult, parts: Sequence[Part]) -> Simulated:
    if result.error:
        return Simulated(result.at_s, result.queue_s)
    part = parts[result.engine]
    took_s = result.latency_s + (fixed_s(part.engine) if part.engine else 0.0)
    return Simulated(result.at_s, result.queue_s, took_s, part, took_s - result.queue_s)
