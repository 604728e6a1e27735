"""Engines of a profile as the simulator has them. Pure."""

from marketplace.benchmarks.profiles.engine_figures import CONTEXT_UNIT, PROMPT_UNIT, EngineFigures
from router.simulator.engines.batching import EngineSpec
from router.simulator.engines.kv_cache import BLOCK_TOKENS
from router.simulator.engines.sessions import Lengths, Load

STEP_TOKENS = 2048
"""An engine computes so many in a step at most: a common default."""

CACHE_UNKNOWN_TOKENS = 1 << 40
"""A cache of unknown size is taken to hold everything."""

ANY = Lengths(1.0, 0.0, 1.0, 1.0)
NO_LOAD = Load(1.0, ANY, ANY, answer_max=0)
"""Where whoever simulates brings the sessions."""

CLIENT_TIMEOUT_S = 600.0


def spec_of(
    figures: EngineFigures,
    *,
    name: str,
    kind: str,
    sequences_max: int,
    event_tokens: int,
    kv_tokens_min: int = 0,
) -> EngineSpec:
    """An engine with these figures. Its cache holds ``kv_tokens_min`` at least."""
    _, _, prompts_s = figures.first.weights
    base_s, batch_s, context_s, beside_s = figures.step.weights
    kv_tokens = figures.kv_tokens or CACHE_UNKNOWN_TOKENS
    return EngineSpec(
        name=name,
        kind=kind,
        prefill_hz=PROMPT_UNIT / prompts_s,
        base_s=base_s * event_tokens,
        batch_s=batch_s * event_tokens,
        context_s=context_s / CONTEXT_UNIT * event_tokens,
        kv_tokens=max(kv_tokens, kv_tokens_min + BLOCK_TOKENS),
        step_tokens=STEP_TOKENS,
        sequences_max=sequences_max,
        event_tokens=event_tokens,
        beside_hz=PROMPT_UNIT / beside_s,
    )


def fixed_s(figures: EngineFigures) -> float:
    """The part of the time to the first token that is neither a step nor the prompt."""
    return max(figures.first.weights[0] - 1.5 * figures.step.weights[0], 0.0)
