"""The emulator's figures as data: what each emulated chip takes, for any sizes and parallelism.

``emulated.json`` is written by ``python -m tests.bench.advisor_data`` out of the emulator's
roofline over published peaks (docs/explanation/emulation.md); a test holds the two together.
Memory sizes and the cost of talking between chips are not modelled there, so neither are they here.
"""

from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from marketplace.benchmarks.profiles.engine_figures import EngineFigures, Sum
from marketplace.planning.advisor.question import Question

FILE = Path(__file__).with_name("emulated.json")
REFERENCE_TOKENS = 64
"""Prompt and completion tokens of the typical call behind a pool's given prior."""


class EmulatedOption(Struct, frozen=True, forbid_unknown_fields=True):
    """A model on ``chips`` of a pool's hardware, tensor-parallel. Times in ms.

    A prompt takes the longer of ``read_ms`` and its tokens' ``token_ms``, and ``overhead_ms``;
    ``step_ms`` is one completion token by concurrency (0 unless the task is chat); an image takes
    ``item_ms``, shared out over what runs at once.

    What is known beforehand of its engine is ``first`` and ``step``, in seconds, as in
    :class:`~router.domain.catalog.EngineCurve`. It runs ``sequences`` calls, and its KV cache holds
    ``kv_tokens``, none where the model does not fit. Empty and 0 where the task is not chat.
    """

    model: str
    task: str
    pool: str
    hardware: str
    chips: int
    pool_chips: int
    slots: int
    read_ms: float
    token_ms: float
    item_ms: float
    overhead_ms: float
    step_ms: tuple[tuple[int, float], ...]
    first: tuple[float, ...] = ()
    step: tuple[float, ...] = ()
    sequences: int = 0
    kv_tokens: int = 0

    @property
    def has_room(self) -> bool:
        """Whether the model fits, with room for a KV cache; known of chat alone."""
        return self.task != "chat" or self.kv_tokens > 0

    @property
    def engine(self) -> EngineFigures | None:
        """As a profile keeps it; None where it is no engine, or the model does not fit."""
        if not self.kv_tokens:
            return None
        first = Sum(self.first, (True,) * len(self.first), 0.0)
        step = Sum(self.step, (True,) * len(self.step), 0.0)
        return EngineFigures(
            first,
            step,
            answers=0,
            at_once=self.sequences,
            context_tokens=1.5 * REFERENCE_TOKENS,
            event_tokens=1.0,
            kv_tokens=self.kv_tokens,
        )

    def service_ms(self, prompt: float, completion: float, rows: float, at_once: int) -> float:
        """One call's mean time with ``at_once`` running."""
        if self.task == "chat":
            step = dict(self.step_ms)[at_once]
            return self._prefill(prompt) + completion * step
        if self.task in ("embeddings", "rerank", "moderation"):
            return self._prefill(prompt * rows * at_once)
        return max(self.read_ms, self.item_ms * rows * at_once) + self.overhead_ms

    def of(self, question: Question) -> tuple[float, tuple[tuple[int, float], ...]]:
        """Mean service time alone, and the batch curve, of the asked mix."""
        mix = (question.prompt_tokens, question.completion_tokens, question.rows)
        alone = self.service_ms(*mix, 1)
        curve = tuple((n, self.service_ms(*mix, n) / alone) for n, _ in self.step_ms if n > 1)
        flat = all(abs(factor - 1) < 1e-9 for _, factor in curve)
        return alone, () if flat else curve

    def _prefill(self, tokens: float) -> float:
        return max(self.read_ms, self.token_ms * tokens) + self.overhead_ms


@cache
def emulated_options() -> tuple[EmulatedOption, ...]:
    """The file, read once."""
    return msgspec.json.decode(FILE.read_bytes(), type=tuple[EmulatedOption, ...])
