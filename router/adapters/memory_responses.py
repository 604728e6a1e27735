"""Responses kept in memory, by a router that stands alone, and in tests."""

from collections.abc import Callable, Sequence

from router.ports.responses import Turn

KEPT_MAX = 1_000
"""The most turns that are kept. The oldest gives way."""


class MemoryResponseStore:
    """See :class:`router.ports.responses.ResponseStore`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Turn]] = {}

    async def keep(self, turn: Turn, ttl_s: float) -> None:
        self._kept.setdefault(turn.id, (self._clock() + ttl_s, turn))
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]

    async def turns(
        self, organisation_id: int, id_: str, *, turns_max: int, characters_max: int
    ) -> Sequence[Turn]:
        found: list[Turn] = []
        characters = 0
        while id_ and len(found) < turns_max and characters <= characters_max:
            turn = self._turn(organisation_id, id_)
            if turn is None:
                break
            found.append(turn)
            characters += len(turn.items) + len(turn.body)
            id_ = turn.previous_id
        return found[::-1]

    async def forget(self, organisation_id: int, id_: str) -> bool:
        found = self._turn(organisation_id, id_) is not None
        if found:
            del self._kept[id_]
        return found

    def _turn(self, organisation_id: int, id_: str) -> Turn | None:
        expires_s, turn = self._kept.get(id_, (0.0, None))
        if turn is None or turn.organisation_id != organisation_id:
            return None
        return turn if self._clock() < expires_s else None
