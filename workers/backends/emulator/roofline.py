"""How long an emulated worker takes: the roofline model over published peaks.

A step takes as long as the slower of reading the weights it needs and doing its arithmetic
(Williams, Waterman and Patterson 2009; for transformer decoding, Pope et al. 2022, *Efficiently
Scaling Transformer Inference*). Sharing the weights' reading is what makes a batch cheap until
arithmetic limits, so the batch curve follows from the same two figures. A generation's keys and
values are read in each of its steps too, and have to fit into what the weights leave of memory.
Real engines reach only a part of the peaks; the shares, the fixed times and the tokens of a step
below are assumptions, not measurements.
"""

from dataclasses import dataclass
from statistics import linear_regression

from router.domain.catalog import EngineCurve
from router.simulator.engines.batching import EngineSpec
from workers.backends.emulator.hardware import EmulatedModel, Hardware

BANDWIDTH_SHARE = 0.6
FLOP_SHARE = 0.4
STEP_OVERHEAD_S = 0.001
REQUEST_OVERHEAD_S = 0.004

MEMORY_SHARE = 0.9
"""Of a chip's memory, what weights and KV cache may take together."""

STEP_TOKENS = 2048
"""An engine computes so many tokens in a step at most, prompts in chunks."""

BESIDE, USUAL_PROMPT_TOKENS = 8, 512
"""How much longer a step takes that computes a prompt too is measured with so many tokens beside
so many answers: a part of its arithmetic fits into the time that reading takes anyhow.
"""

WEIGHT_MIN = 1e-6
"""A router learns by factors, and would never come back from nothing."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One model on ``chips`` of one hardware, run tensor-parallel. All times are seconds."""

    model: EmulatedModel
    hardware: Hardware
    chips: int

    def step_s(self, batch: int, context: int, prompt_tokens: int) -> float:
        """A step: a token for each of ``batch`` generations that attend to ``context`` tokens in
        all, and ``prompt_tokens`` of prompts.
        """
        model, tokens = self.model, batch + prompt_tokens
        weights = min(model.parameters, model.active_parameters * tokens)
        read = weights * model.bytes_per_parameter + model.kv_bytes * context
        return self._slower(read, 2 * model.active_parameters * tokens) + STEP_OVERHEAD_S

    def decode_step_s(self, batch: int) -> float:
        """One more token for each of ``batch`` requests that run together, however long."""
        return self.step_s(batch, 0, 0)

    @property
    def kv_tokens(self) -> int:
        """How many tokens' keys and values fit beside the weights; below 0 these don't either."""
        model = self.model
        free = self.hardware.memory_bytes * self.chips * MEMORY_SHARE
        return int((free - model.parameters * model.bytes_per_parameter) / model.kv_bytes)

    def prefill_s(self, prompt_tokens: int) -> float:
        """From the start of service to the first token."""
        model = self.model
        read = model.parameters * model.bytes_per_parameter
        return self._slower(read, 2 * model.active_parameters * prompt_tokens) + REQUEST_OVERHEAD_S

    def items_s(self, items: float, batch: int) -> float:
        """A request of ``items`` images while ``batch`` requests share the worker."""
        model = self.model
        read = model.parameters * model.bytes_per_parameter
        return self._slower(read, model.flop_per_item * items * batch) + REQUEST_OVERHEAD_S

    def generation_s(self, prompt_tokens: int, completion_tokens: int, batch: int) -> float:
        """A whole chat call on an engine with ``batch`` such calls under way, its own included."""
        context = prompt_tokens + completion_tokens // 2
        first_s = self.step_s(batch - 1, (batch - 1) * context + prompt_tokens, prompt_tokens)
        step_s = self.step_s(batch, batch * context, 0)
        return REQUEST_OVERHEAD_S + first_s + (completion_tokens - 1) * step_s

    def engine(self, name: str, sequences_max: int) -> "RooflineEngine":
        """An engine that runs the model for ``sequences_max`` requests at once at most."""
        batches = range(1, sequences_max + 1)
        line = linear_regression(batches, [self.decode_step_s(batch) for batch in batches])
        hardware = self.hardware
        flop_per_s = hardware.flop_per_s * self.chips * FLOP_SHARE
        bytes_per_s = hardware.bytes_per_s * self.chips * BANDWIDTH_SHARE
        return RooflineEngine(
            name=name,
            kind=hardware.name,
            prefill_hz=flop_per_s / (2 * self.model.active_parameters),
            base_s=line.intercept,
            batch_s=line.slope,
            context_s=self.model.kv_bytes / bytes_per_s,
            kv_tokens=self.kv_tokens,
            step_tokens=STEP_TOKENS,
            sequences_max=sequences_max,
            profile=self,
        )

    def _slower(self, bytes_read: float, flop: float) -> float:
        hardware, chips = self.hardware, self.chips
        reading = bytes_read / (hardware.bytes_per_s * chips * BANDWIDTH_SHARE)
        arithmetic = flop / (hardware.flop_per_s * chips * FLOP_SHARE)
        return max(reading, arithmetic)


class RooflineEngine(EngineSpec, frozen=True, kw_only=True):
    """The straight line nearest to a profile's steps, which is what can be told beforehand; its
    steps really take what the profile says.
    """

    profile: Profile

    def mixed_s(self, batch: int, context: int, prompt_tokens: int) -> float:
        """See :class:`Profile`."""
        return self.profile.step_s(batch, context, prompt_tokens)

    @property
    def curve(self) -> EngineCurve:
        """The line as a router has it. Whoever comes waits for the half of a step that is left when
        others are answered, and for a whole one.
        """
        base_s, batch_s = max(self.base_s, WEIGHT_MIN), max(self.batch_s, WEIGHT_MIN)
        prompts_s, context_s = 1e3 / self.prefill_hz, 1e4 * self.context_s
        first = (REQUEST_OVERHEAD_S + 1.5 * base_s, 1.5 * batch_s, prompts_s)
        context = BESIDE * USUAL_PROMPT_TOKENS
        alone_s, mixed_s = (
            self.mixed_s(BESIDE, context, prompt) for prompt in (0, USUAL_PROMPT_TOKENS)
        )
        beside_s = max((mixed_s - alone_s) * 1e3 / USUAL_PROMPT_TOKENS, WEIGHT_MIN)
        return EngineCurve(first, (base_s, batch_s, context_s, beside_s))
