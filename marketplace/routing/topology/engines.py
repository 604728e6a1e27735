"""Merges the states that several routers report of one engine. Pure."""

from collections.abc import Callable, Sequence

from marketplace.routing.topology.contracts import (
    EndpointState,
    EngineBatch,
    EngineExpected,
    WorkerState,
)


def batch_of(seen: Sequence[WorkerState]) -> EngineBatch | None:
    """The engine's whole batch: the sum over routers, as each counts only its own requests."""
    parts = [worker.engine for worker in seen if worker.engine is not None]
    if not parts:
        return None
    return EngineBatch(
        decoding=sum(part.decoding for part in parts),
        prompts_waiting=sum(part.prompts_waiting for part in parts),
        pending_tokens=sum(part.pending_tokens for part in parts),
        context_tokens=sum(part.context_tokens for part in parts),
        has_room=any(part.has_room for part in parts),
        ramping=any(part.ramping for part in parts),
    )


def expected_of(of: Sequence[EndpointState]) -> EngineExpected | None:
    """The routers' mean estimate, weighted by the answers each has seen; unweighted before any."""
    known = [(state.engine, state.samples) for state in of if state.engine is not None]
    if not known:
        return None
    if not any(samples for _, samples in known):
        known = [(engine, 1) for engine, _ in known]

    def mean(value: Callable[[EngineExpected], float | None]) -> float | None:
        values = [(it, n) for engine, n in known if (it := value(engine)) is not None]
        weight = sum(n for _, n in values)
        return sum(it * n for it, n in values) / weight if weight else None

    return EngineExpected(
        prompt_tokens=round(mean(lambda engine: engine.prompt_tokens) or 0),
        first_token_ms=mean(lambda engine: engine.first_token_ms) or 0.0,
        token_ms=mean(lambda engine: engine.token_ms) or 0.0,
        hit_rate=mean(lambda engine: engine.hit_rate),
        first_factor=mean(lambda engine: engine.first_factor) or 1.0,
        step_factor=mean(lambda engine: engine.step_factor) or 1.0,
    )
