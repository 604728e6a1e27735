"""A moderation, as workers give it: the part that the router reads."""

import msgspec
from msgspec import Struct

from router.contracts.bodies.text_usage import TextUsage


class Judged(Struct, frozen=True, gc=False):
    """One input: whether it is flagged, for what, and how surely."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]


class Moderation(Struct, frozen=True, gc=False):
    """One result for each input, in order."""

    results: list[Judged]
    usage: TextUsage | None = None


decode_moderation = msgspec.json.Decoder(Moderation).decode
