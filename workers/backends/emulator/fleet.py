"""The emulated fleet: which workers stand for which hardware, and what each takes."""

from dataclasses import dataclass
from typing import Any

from router.domain.protocols import speaks
from workers.backends.emulator.hardware import (
    A100,
    H100,
    MODELS,
    READ_WHOLE,
    RTX_4090,
    TPU_V5E,
    XEON_8480,
    Hardware,
)
from workers.backends.emulator.roofline import Profile

TYPICAL_PROMPT_TOKENS = 64
TYPICAL_COMPLETION_TOKENS = 64


@dataclass(frozen=True, slots=True)
class EmulatedPool:
    """``chips`` is what one worker runs tensor-parallel on. One for tensors has ``slots``; one for
    chat has engines, which run so many ``sequences`` at once at most.
    """

    name: str
    hardware: Hardware
    chips: int
    slots: int
    sequences: int


@dataclass(frozen=True, slots=True)
class EmulatedWorker:
    """One worker of a pool. Its address is ``<emulator>/<id>``; ``protocol`` as in the catalog."""

    id: str
    pool: EmulatedPool
    protocol: str

    @property
    def slots(self) -> int:
        """For the catalog: how many requests it runs at once at most."""
        return self.pool.sequences if self.protocol == "openai" else self.pool.slots

    def profile(self, model: str) -> Profile:
        """Raises ``KeyError`` for a model that is not emulated."""
        return Profile(MODELS[model], self.pool.hardware, self.pool.chips)

    def serves(self, model: str) -> bool:
        """Whether its protocol is for the model's task, and the model fits into its memory."""
        task = MODELS[model].task
        fits = task != "chat" or self.profile(model).kv_tokens > 0
        return fits and speaks(self.protocol, task)

    def priors_ms(self) -> dict[str, float]:
        """Mean service time of a typical request alone on the worker, by model that it serves."""
        return {
            name: round(typical_service_s(self.profile(name)) * 1e3, 2)
            for name in MODELS
            if self.serves(name)
        }

    def engines(self) -> dict[str, dict[str, Any]]:
        """For each chat model that it serves, what is known about its engine in advance."""
        return {
            name: self._told(name)
            for name, model in MODELS.items()
            if model.task == "chat" and self.serves(name)
        }

    def _told(self, model: str) -> dict[str, Any]:
        engine = self.profile(model).engine(model, self.pool.sequences)
        curve = engine.curve
        return {
            "first": curve.first,
            "step": curve.step,
            "sequences": engine.sequences_max,
            "kv_tokens": engine.kv_tokens,
        }


POOLS = (
    EmulatedPool("emulated-h100", H100, chips=2, slots=16, sequences=64),
    EmulatedPool("emulated-a100", A100, chips=2, slots=12, sequences=48),
    EmulatedPool("emulated-rtx4090", RTX_4090, chips=1, slots=4, sequences=24),
    EmulatedPool("emulated-tpu-v5e", TPU_V5E, chips=8, slots=8, sequences=32),
    EmulatedPool("emulated-cpu", XEON_8480, chips=1, slots=2, sequences=8),
)

WORKERS = {
    worker.id: worker
    for pool in POOLS
    for worker in (
        EmulatedWorker(f"{pool.name}-0", pool, "openai"),
        EmulatedWorker(f"{pool.name}-1", pool, "openai"),
        EmulatedWorker(f"{pool.name}-tensor-0", pool, "oip"),
    )
}


def typical_service_s(profile: Profile) -> float:
    """One typical request on an otherwise idle worker."""
    if profile.model.task == "chat":
        return profile.generation_s(TYPICAL_PROMPT_TOKENS, TYPICAL_COMPLETION_TOKENS, batch=1)
    if profile.model.task in READ_WHOLE:
        return profile.prefill_s(TYPICAL_PROMPT_TOKENS)
    return profile.items_s(1, batch=1)
