"""The lines of a statement: calls by model, provider and price version, and other transfers."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from router.domain.pricing import ChargeLine, PriceClass, Usage

CHARGE = "charge"


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line; ``amount_nano`` is signed, positive if the account gained.

    A line of ``kind`` :data:`CHARGE` sums the calls of a model at a provider's price version, in a
    class of it. These fields are "" or 0 if the calls' records are gone. ``items`` is the usage,
    priced before rounding; ``commission_nano`` is the platform's part. Any other line is one
    transfer with its ``kind``, the sender's ``reference``, and its time ``at_ms`` in Unix
    milliseconds.
    """

    kind: str
    amount_nano: int
    model: str = ""
    provider: str = ""
    price_id: int = 0
    price_class: str = PriceClass.STANDARD.value
    calls: int = 0
    usage: Usage = Usage()
    items: tuple[ChargeLine, ...] = ()
    commission_nano: int = 0
    reference: str = ""
    at_ms: int = 0

    @property
    def is_charge(self) -> bool:
        return self.kind == CHARGE


def encode_lines(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """The lines as JSON values."""
    return msgspec.to_builtins(list(lines))


def decode_lines(lines: list[dict[str, Any]]) -> tuple[Line, ...]:
    """The inverse of :func:`encode_lines`."""
    return msgspec.convert(lines, tuple[Line, ...])
