"""What an entry of the demo says: a provider, a pool, a model."""

from dataclasses import dataclass, field
from typing import Any

from router.domain.pricing import Price

USD = 1_000_000_000
"""Nano-USD in a dollar."""
CENT = USD // 100


@dataclass(frozen=True, slots=True)
class DemoProvider:
    slug: str
    name: str
    description: str
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class DemoPool:
    """``worker_cost_nano_per_hour`` is what the provider pays for one worker."""

    name: str
    hardware: str
    engine: str
    provider: str
    worker_cost_nano_per_hour: int
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class DemoModel:
    """``prices`` maps each pool that may serve it to the price there.

    ``upstream_model`` is the model's name at its workers.
    """

    name: str
    display_name: str
    task: str
    description: str
    license: str
    version: str
    upstream_model: str
    prices: dict[str, Price]
    source_url: str = ""
    context_tokens_max: int = 0
    completion_tokens_max: int = 0
    quantization: str = ""
    supported_parameters: tuple[str, ...] = ()
    tensors: dict[str, Any] = field(default_factory=dict)
    input_schema: dict[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        return self.name.startswith("emulated/")


def tokens_price(prompt_cents: float, completion_cents: float = 0.0) -> Price:
    """A price in cents per million tokens; cached prompt tokens cost half."""
    prompt = round(prompt_cents * CENT)
    completion = round(completion_cents * CENT)
    return Price(
        id=0,
        prompt_nano_per_million=prompt,
        cached_nano_per_million=prompt // 2,
        completion_nano_per_million=completion,
        reasoning_nano_per_million=completion,
    )


def tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    """A tensor as the catalog describes it; a size of -1 is any."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
