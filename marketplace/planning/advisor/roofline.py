"""The emulator's figures as data: what each emulated chip takes, for any sizes and parallelism.

``emulated.json`` is written by ``python -m tests.bench.advisor_data`` out of the emulator's
roofline over published peaks (docs/explanation/emulation.md); a test holds the two together.
Memory sizes and the cost of talking between chips are not modelled there, so neither are they here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from marketplace.planning.advisor.question import Question

FILE = Path(__file__).with_name("emulated.json")
REFERENCE_TOKENS = 64
"""Prompt and completion tokens of the typical call behind a pool's given prior."""


class EmulatedOption(Struct, frozen=True, forbid_unknown_fields=True):
    """A model on ``chips`` of a pool's hardware, tensor-parallel. Times in ms.

    A prompt takes the longer of ``read_ms`` and its tokens' ``token_ms``, and ``overhead_ms``;
    ``step_ms`` is one completion token by concurrency (0 unless the task is chat); an image takes
    ``item_ms``, shared out over what runs at once.
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

    def service_ms(self, prompt: float, completion: float, rows: float, at_once: int) -> float:
        """One call's mean time with ``at_once`` running."""
        if self.task == "chat":
            step = dict(self.step_ms)[at_once]
            return self._prefill(prompt) + completion * step
        if self.task == "embeddings":
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
