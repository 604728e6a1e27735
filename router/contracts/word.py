"""What a router tells the other routers, with every beat, about the engines that they share."""

from collections.abc import Mapping

from msgspec import Struct


class Load(Struct, frozen=True, gc=False):
    """Work on an engine, averaged over a few seconds.

    Prompts that wait for their first token and their tokens still to compute, running answers and
    the tokens of prompts that they all attend to, and prompt tokens computed per second.
    """

    prefilling: float = 0.0
    pending_tokens: float = 0.0
    decoding: float = 0.0
    context_tokens: float = 0.0
    prefilled_hz: float = 0.0


NO_LOAD = Load()


class Word(Struct, frozen=True):
    """``loads`` is what a router has on engines, by worker.

    ``prompts`` are the latest that it has sent there, by endpoint. A prompt is the hash of its last
    block, chained over all the blocks before it.
    """

    loads: Mapping[str, Load] = {}
    prompts: Mapping[str, tuple[int, ...]] = {}


SILENT = Word()
