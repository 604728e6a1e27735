"""What a statement consists of: calls by model, provider and price version, and other movements."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from router.domain.pricing import ChargeLine, Usage

CHARGE = "charge"


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``amount_nano`` is signed: what the account gained.

    A line of ``kind`` :data:`CHARGE` sums up the calls of a model at a price version of a provider
    (a slug; all of them "" or 0 where the calls' records are gone): ``items`` say what they used,
    priced before rounding, and ``commission_nano`` what the platform kept. Any other line is one
    transfer: ``kind`` is its kind, ``reference`` what its sender called it, ``at_ms`` its time in
    Unix milliseconds.
    """

    kind: str
    amount_nano: int
    model: str = ""
    provider: str = ""
    price_id: int = 0
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
    """As JSON keeps them."""
    return msgspec.to_builtins(list(lines))


def decode_lines(lines: list[dict[str, Any]]) -> tuple[Line, ...]:
    """The inverse of :func:`encode_lines`."""
    return msgspec.convert(lines, tuple[Line, ...])
