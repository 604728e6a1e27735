"""The caches of all engines that publish what is in them."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from router.contracts.engines.kv_events import KvEvent
from router.scheduling.caches.affinity import PrefixIndex
from router.scheduling.caches.kv_chains import Answered, KvChains
from router.scheduling.fleet.worker import Attempt
from router.scheduling.ticket import Used

BLOCKS_MAX = 500_000
"""Blocks followed of all engines together, about 250 bytes each."""


class Followed(Struct, frozen=True, gc=False):
    """How the cache of an engine is followed: how many blocks, and for how many answers their
    blocks were found and not found.
    """

    blocks: int
    matched: int
    unmatched: int


class EngineCaches:
    """See the module. ``blocks_max`` bounds all engines together; one that exceeds it begins anew,
    with estimates.
    """

    def __init__(self, prefixes: PrefixIndex, blocks_max: int = BLOCKS_MAX) -> None:
        self._prefixes = prefixes
        self._blocks_max = blocks_max
        self._chains: dict[str, KvChains] = {}
        self._blocks = 0

    def heard(self, worker_id: str, events: Sequence[KvEvent] | None, now_s: float) -> None:
        """An engine has said this; None: something of it was missed."""
        chains = self._chains.get(worker_id)
        if chains is None:
            chains = self._chains[worker_id] = KvChains(self._prefixes)
        self._blocks -= len(chains)
        if events is None:
            chains.missed()
        else:
            chains.heard(events, now_s)
            if self._blocks + len(chains) > self._blocks_max:
                chains.missed()
        self._blocks += len(chains)

    def answered(self, attempt: Attempt, used: Used, now_s: float) -> None:
        """An answer has ended well."""
        chains = self._chains.get(attempt.endpoint.worker.id)
        if chains is not None:
            ticket = attempt.ticket
            chains.ended(
                Answered(
                    attempt.endpoint.id,
                    ticket.prefix,
                    ticket.prompt_bytes,
                    used.prompt_tokens,
                    used.cached_tokens,
                    used.answer_tokens,
                    attempt.dispatched_s,
                    now_s,
                )
            )

    def followed(self, worker_id: str) -> Followed | None:
        """None for an engine that has said nothing yet."""
        chains = self._chains.get(worker_id)
        if chains is None:
            return None
        return Followed(len(chains), chains.matched, chains.unmatched)

    def keep_only(self, worker_ids: Collection[str]) -> None:
        """Forget engines that are gone."""
        for worker_id in [id_ for id_ in self._chains if id_ not in worker_ids]:
            self._blocks -= len(self._chains.pop(worker_id))
