"""What a router tells the others with every beat, of the engines that they share."""

from collections.abc import Mapping

from msgspec import Struct


class Load(Struct, frozen=True, gc=False):
    """Work on an engine, on average over some seconds: prompts that it has yet to answer and their
    tokens that it has to compute, answers under way, tokens of prompts that all of these attend to,
    and tokens of prompts that it computes in a second.
    """

    prefilling: float = 0.0
    pending_tokens: float = 0.0
    decoding: float = 0.0
    context_tokens: float = 0.0
    prefilled_hz: float = 0.0


NO_LOAD = Load()


class Word(Struct, frozen=True):
    """``loads`` are what a router has on engines, by worker. ``prompts`` are the latest that it has
    sent there, by endpoint: of each the hash of its last block, made with all before it.
    """

    loads: Mapping[str, Load] = {}
    prompts: Mapping[str, tuple[int, ...]] = {}


SILENT = Word()
