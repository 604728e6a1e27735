"""How long an emulated worker takes: the roofline model over published peaks.

A step takes as long as the slower of reading the weights it needs and doing its arithmetic
(Williams, Waterman and Patterson 2009; for transformer decoding, Pope et al. 2022, *Efficiently
Scaling Transformer Inference*). Sharing the weights' reading is what makes a batch cheap until
arithmetic limits, so the batch curve follows from the same two figures. Real engines reach only a
part of the peaks; the two shares and the fixed times below are assumptions, not measurements.
"""

from dataclasses import dataclass

from workers.backends.emulator.hardware import EmulatedModel, Hardware

BANDWIDTH_SHARE = 0.6
FLOP_SHARE = 0.4
STEP_OVERHEAD_S = 0.001
REQUEST_OVERHEAD_S = 0.004


@dataclass(frozen=True, slots=True)
class Profile:
    """One model on ``chips`` of one hardware, run tensor-parallel. All times are seconds."""

    model: EmulatedModel
    hardware: Hardware
    chips: int

    def decode_step_s(self, batch: int) -> float:
        """One more token for each of ``batch`` requests that run together."""
        model = self.model
        read = min(model.parameters, model.active_parameters * batch) * model.bytes_per_parameter
        return self._slower(read, 2 * model.active_parameters * batch) + STEP_OVERHEAD_S

    def prefill_s(self, prompt_tokens: int) -> float:
        """From the start of service to the first token."""
        model = self.model
        read = model.parameters * model.bytes_per_parameter
        return self._slower(read, 2 * model.active_parameters * prompt_tokens) + REQUEST_OVERHEAD_S

    def items_s(self, items: int, batch: int) -> float:
        """A request of ``items`` images while ``batch`` requests share the worker."""
        model = self.model
        read = model.parameters * model.bytes_per_parameter
        return self._slower(read, model.flop_per_item * items * batch) + REQUEST_OVERHEAD_S

    def generation_s(self, prompt_tokens: int, completion_tokens: int, batch: int) -> float:
        """A whole chat call at a steady batch, without waiting."""
        return self.prefill_s(prompt_tokens) + completion_tokens * self.decode_step_s(batch)

    def _slower(self, bytes_read: float, flop: float) -> float:
        hardware, chips = self.hardware, self.chips
        reading = bytes_read / (hardware.bytes_per_s * chips * BANDWIDTH_SHARE)
        arithmetic = flop / (hardware.flop_per_s * chips * FLOP_SHARE)
        return max(reading, arithmetic)
