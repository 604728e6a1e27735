"""What several routers say of one engine, as one. Pure."""

from collections.abc import Callable, Sequence

from marketplace.routing.topology.contracts import (
    EndpointState,
    EngineBatch,
    EngineExpected,
    WorkerState,
)


def batch_of(seen: Sequence[WorkerState]) -> EngineBatch | None:
    """Each router knows what it has sent itself: together it is the whole batch."""
    parts = [worker.engine for worker in seen if worker.engine is not None]
    if not parts:
        return None
    return EngineBatch(
        decoding=sum(one.decoding for one in parts),
        prompts_waiting=sum(one.prompts_waiting for one in parts),
        pending_tokens=sum(one.pending_tokens for one in parts),
        context_tokens=sum(one.context_tokens for one in parts),
        has_room=any(one.has_room for one in parts),
        ramping=any(one.ramping for one in parts),
    )


def expected_of(of: Sequence[EndpointState]) -> EngineExpected | None:
    """The mean of what routers expect, by the answers that each has seen; all alike before any."""
    known = [(one.engine, one.samples) for one in of if one.engine is not None]
    if not known:
        return None
    if not any(samples for _, samples in known):
        known = [(engine, 1) for engine, _ in known]

    def mean(value: Callable[[EngineExpected], float | None]) -> float | None:
        told = [(it, n) for one, n in known if (it := value(one)) is not None]
        weight = sum(n for _, n in told)
        return sum(it * n for it, n in told) / weight if weight else None

    return EngineExpected(
        prompt_tokens=round(mean(lambda one: one.prompt_tokens) or 0),
        first_token_ms=mean(lambda one: one.first_token_ms) or 0.0,
        token_ms=mean(lambda one: one.token_ms) or 0.0,
        hit_rate=mean(lambda one: one.hit_rate),
        first_factor=mean(lambda one: one.first_factor) or 1.0,
        step_factor=mean(lambda one: one.step_factor) or 1.0,
    )
