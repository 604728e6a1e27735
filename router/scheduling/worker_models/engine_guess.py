"""What the catalog says of an engine before anybody has called it or measured its curve: that it is
one, and what it is expected to take.

A benchmark's mean service says how much faster or slower it is than a typical engine, and its batch
curve says how a step grows with the running answers. Without a benchmark, its hardware does, by the
two figures that limit it: computing power for prompts, and memory bandwidth for steps. After a few
answers none of this matters.
"""

from router.domain.catalog import Deployment, Endpoint
from router.scheduling.worker_models.engine import THOUSAND
from router.scheduling.worker_models.engine_speed import FIRST_GUESS, STEP_GUESS

NAMED = (
    "vllm",
    "sglang",
    "tensorrt-llm",
    "tgi",
    "text-generation-inference",
    "lmdeploy",
    "emulator",
)
"""Chat servers that always batch continuously, and their emulator. Others (llama.cpp, Ollama) do
what they were started for, often one request at a time, and have to show that they batch.
"""

PROMPT_TOKENS, ANSWER_TOKENS = 64, 64
"""The mean request of a benchmark, unless somebody has chosen another."""

FIRST_S = FIRST_GUESS[0] + FIRST_GUESS[2] * PROMPT_TOKENS / THOUSAND
STEP_S = STEP_GUESS[0] + STEP_GUESS[1]
ALONE_S = FIRST_S + STEP_S * ANSWER_TOKENS
"""How long that request takes alone on a typical engine."""

SCALE_MIN, SCALE_MAX = 0.02, 50.0

HARDWARE = {
    "b200": (2250, 8.0),
    "h200": (989, 4.8),
    "h100": (989, 3.35),
    "mi300": (1307, 5.3),
    "a100": (312, 2.0),
    "l40": (362, 0.86),
    "5090": (210, 1.79),
    "4090": (165, 1.01),
    "3090": (71, 0.94),
    "v100": (125, 0.9),
    "a10": (125, 0.6),
    "l4": (121, 0.3),
    "t4": (65, 0.32),
    "cpu": (40, 0.4),
}
"""Peak 16-bit teraflops and terabytes a second, as makers publish them, by a part of the name.

The first match counts. For processors it is a server's with many cores. A figure that is too low
keeps requests waiting in the router; one that is too high is corrected by the first answer.
"""

MIDDLE = HARDWARE["a100"]

Weights = tuple[float, ...]


def is_named(endpoint: Endpoint) -> bool:
    """Whether the catalog says that an endpoint's worker is an engine."""
    return endpoint.task == "chat" and endpoint.pool.engine.casefold().startswith(NAMED)


def guess_of(deployment: Deployment, hardware: str) -> tuple[Weights, Weights]:
    """The weights of the first token and of a step, as ``engine.py`` has them."""
    if deployment.service_prior_ms:
        scale = _scale(deployment.service_prior_ms / 1e3 / ALONE_S)
        step = _scaled(STEP_GUESS, scale)
        at_once, factor = max(deployment.batch_curve, default=(1, 1.0))
        if at_once > 1 and factor > 1:
            step = (step[0], step[0] * (factor - 1) / (at_once - 1), *step[2:])
        return _scaled(FIRST_GUESS, scale), step
    name = hardware.casefold()
    for part, (teraflops, terabytes) in HARDWARE.items():
        if part in name:
            computing, moving = _scale(MIDDLE[0] / teraflops), _scale(MIDDLE[1] / terabytes)
            step = (*_scaled(STEP_GUESS[:3], moving), STEP_GUESS[3] * computing)
            return _scaled(FIRST_GUESS, computing), step
    return FIRST_GUESS, STEP_GUESS


def _scale(factor: float) -> float:
    return max(SCALE_MIN, min(factor, SCALE_MAX))


def _scaled(weights: Weights, factor: float) -> Weights:
    return tuple(factor * weight for weight in weights)
