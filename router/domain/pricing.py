"""What a call costs: price versions, measured usage, the most it can cost, the final charge."""

from enum import StrEnum

from msgspec import Struct, structs

from router.domain.money import BASIS_POINTS, PRICE_SCALE, round_half_even

TOKENS_PER_MILLION = 1_000_000
MS_PER_SECOND = 1_000
SCALE_PER_MS = PRICE_SCALE // MS_PER_SECOND


class PriceClass(StrEnum):
    """What kind of call is charged for."""

    STANDARD = "standard"
    BATCH = "batch"
    """A line of a batch, at the priority of batches."""


class Price(Struct, frozen=True, gc=False):
    """One immutable price version of a deployment, in nano-USD.

    Token prices are per million tokens; the others are per single request, row, image or second
    of hardware. ``unit`` says what rows are: those of tensors, or what the model's task is counted
    in (:data:`router.domain.protocols.TASKS`). The four token classes are disjoint: ``prompt``
    excludes ``cached``, ``completion`` excludes ``reasoning``. ``effective_at_ms`` is in Unix time.
    A batch pays ``batch_discount_bps`` less, in basis points: see :meth:`in_class`.
    """

    id: int
    prompt_nano_per_million: int = 0
    cached_nano_per_million: int = 0
    completion_nano_per_million: int = 0
    reasoning_nano_per_million: int = 0
    request_nano: int = 0
    row_nano: int = 0
    image_nano: int = 0
    second_nano: int = 0
    effective_at_ms: int = 0
    batch_discount_bps: int = 0
    unit: str = "rows"

    def in_class(self, price_class: str) -> "Price":
        """The same version as calls of a class are charged by it.

        Each price is discounted by itself and rounded up, so that none becomes nothing unless all
        of it is off, and that lines and sums of a class add up as they do of any price.
        """
        if price_class != PriceClass.BATCH or not self.batch_discount_bps:
            return self
        kept = BASIS_POINTS - self.batch_discount_bps
        return structs.replace(
            self,
            **{name: -(-getattr(self, name) * kept // BASIS_POINTS) for name in PRICE_FIELDS},
        )


PRICE_FIELDS = tuple(name for name in Price.__struct_fields__ if "_nano" in name)
"""The fields of a :class:`Price` that are prices."""


class Usage(Struct, frozen=True, gc=False):
    """What one call consumed. Token classes are disjoint, as in :class:`Price`.

    ``rows`` are in the unit of the price. ``hardware_ms`` is how long the answering worker was
    occupied, in whole milliseconds.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    rows: int = 0
    images: int = 0
    hardware_ms: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of every class."""
        return (
            self.prompt_tokens + self.cached_tokens + self.completion_tokens + self.reasoning_tokens
        )


class ChargeLine(Struct, frozen=True, gc=False):
    """One line of a charge: ``quantity × unit_nano / per`` before rounding."""

    item: str
    quantity: int
    unit_nano: int
    per: int

    @property
    def amount_scaled(self) -> int:
        """The exact amount in nano-USD times :data:`~router.domain.money.PRICE_SCALE`.

        Every ``per`` divides that scale.
        """
        return self.quantity * self.unit_nano * (PRICE_SCALE // self.per)


def charge_lines(price: Price, usage: Usage, requests: int = 1) -> list[ChargeLine]:
    """The non-zero lines that make up a charge, unrounded, in a fixed order.

    ``usage`` may be the sum of several ``requests``.
    """
    million = TOKENS_PER_MILLION
    priced = (
        ("prompt_tokens", usage.prompt_tokens, price.prompt_nano_per_million, million),
        ("cached_tokens", usage.cached_tokens, price.cached_nano_per_million, million),
        ("completion_tokens", usage.completion_tokens, price.completion_nano_per_million, million),
        ("reasoning_tokens", usage.reasoning_tokens, price.reasoning_nano_per_million, million),
        ("requests", requests, price.request_nano, 1),
        (price.unit, usage.rows, price.row_nano, 1),
        ("images", usage.images, price.image_nano, 1),
        ("hardware_ms", usage.hardware_ms, price.second_nano, MS_PER_SECOND),
    )
    return [ChargeLine(item, n, unit, per) for item, n, unit, per in priced if n and unit]


def charge_nano(price: Price, usage: Usage) -> int:
    """The charge of a completed call in nano-USD: exact sum, rounded half-even once."""
    scaled = (
        usage.prompt_tokens * price.prompt_nano_per_million
        + usage.cached_tokens * price.cached_nano_per_million
        + usage.completion_tokens * price.completion_nano_per_million
        + usage.reasoning_tokens * price.reasoning_nano_per_million
        + usage.hardware_ms * price.second_nano * SCALE_PER_MS
    )
    units = price.request_nano + usage.rows * price.row_nano + usage.images * price.image_nano
    return units + round_half_even(scaled, PRICE_SCALE)


def answer_nano(price: Price, tokens: int) -> int:
    """The most that this many generated tokens can cost, rounded up."""
    dearest = max(price.completion_nano_per_million, price.reasoning_nano_per_million)
    return -(-tokens * dearest // PRICE_SCALE)


def hold_nano(price: Price, bound: Usage) -> int:
    """The most a call can cost if it consumes at most ``bound``: reserved before it runs.

    ``bound.prompt_tokens`` and ``bound.completion_tokens`` are upper limits of all prompt tokens
    and all generated tokens. Each is priced at the dearer of its two classes, and rounded up.
    """
    prompt = max(price.prompt_nano_per_million, price.cached_nano_per_million)
    completion = max(price.completion_nano_per_million, price.reasoning_nano_per_million)
    scaled = (
        bound.prompt_tokens * prompt
        + bound.completion_tokens * completion
        + bound.hardware_ms * price.second_nano * SCALE_PER_MS
    )
    units = price.request_nano + bound.rows * price.row_nano + bound.images * price.image_nano
    return units - (-scaled // PRICE_SCALE)
