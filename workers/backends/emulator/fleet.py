"""The emulated fleet: which workers stand for which hardware, and what each takes."""

from dataclasses import dataclass

from workers.backends.emulator.hardware import (
    A100,
    H100,
    MODELS,
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
    """``chips`` is what one worker runs tensor-parallel on."""

    name: str
    hardware: Hardware
    chips: int
    slots: int


@dataclass(frozen=True, slots=True)
class EmulatedWorker:
    """One worker of a pool. Its address is ``<emulator>/<id>``; ``protocol`` as in the catalog."""

    id: str
    pool: EmulatedPool
    protocol: str

    def profile(self, model: str) -> Profile:
        """Raises ``KeyError`` for a model that is not emulated."""
        return Profile(MODELS[model], self.pool.hardware, self.pool.chips)

    def priors_ms(self) -> dict[str, float]:
        """Mean service time of a typical request alone on the worker, by model that it serves."""
        return {
            name: round(typical_service_s(self.profile(name)) * 1e3, 2)
            for name, model in MODELS.items()
            if model.task == "embeddings" or (model.task == "chat") == (self.protocol == "openai")
        }


POOLS = (
    EmulatedPool("emulated-h100", H100, chips=2, slots=16),
    EmulatedPool("emulated-a100", A100, chips=2, slots=12),
    EmulatedPool("emulated-rtx4090", RTX_4090, chips=1, slots=4),
    EmulatedPool("emulated-tpu-v5e", TPU_V5E, chips=8, slots=8),
    EmulatedPool("emulated-cpu", XEON_8480, chips=1, slots=2),
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
    if profile.model.task == "embeddings":
        return profile.prefill_s(TYPICAL_PROMPT_TOKENS)
    return profile.items_s(1, batch=1)
