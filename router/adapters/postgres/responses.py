"""Responses kept for every router of the installation."""

from collections.abc import Sequence

from router.adapters.postgres.pool import Pool, fetch
from router.ports.responses import Turn

_TURNS = """
WITH RECURSIVE turn AS (
    SELECT id, previous_id, items, body, 1 AS place,
           length(items)::bigint + length(body) AS characters
    FROM routing_response
    WHERE id = %(id)s AND organisation_id = %(organisation)s AND expires_at > now()
  UNION ALL
    SELECT before.id, before.previous_id, before.items, before.body, turn.place + 1,
           turn.characters + length(before.items) + length(before.body)
    FROM turn JOIN routing_response before ON before.id = turn.previous_id
    WHERE before.organisation_id = %(organisation)s AND before.expires_at > now()
      AND turn.place < %(turns)s AND turn.characters <= %(characters)s
)
SELECT array_agg(ARRAY[id, previous_id, items, body] ORDER BY place DESC) FROM turn
"""


class PostgresResponseStore:
    """See :class:`router.ports.responses.ResponseStore`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, turn: Turn, ttl_s: float) -> None:
        await fetch(
            self._pool,
            "INSERT INTO routing_response "
            "(id, organisation_id, previous_id, items, body, expires_at) "
            "VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s)) "
            "ON CONFLICT (id) DO NOTHING RETURNING 1",
            (turn.id, turn.organisation_id, turn.previous_id, turn.items, turn.body, ttl_s),
        )

    async def turns(
        self, organisation_id: int, id_: str, *, turns_max: int, characters_max: int
    ) -> Sequence[Turn]:
        if "\0" in id_:
            return ()  # No text of PostgreSQL has one, so no id either.
        row = await fetch(
            self._pool,
            _TURNS,
            {
                "id": id_,
                "organisation": organisation_id,
                "turns": turns_max,
                "characters": characters_max,
            },
        )
        found = row[0] if row is not None and row[0] is not None else ()
        return [
            Turn(id_, organisation_id, previous_id, items, body)
            for id_, previous_id, items, body in found
        ]

    async def forget(self, organisation_id: int, id_: str) -> bool:
        row = await fetch(
            self._pool,
            "DELETE FROM routing_response WHERE id = %s AND organisation_id = %s "
            "AND expires_at > now() RETURNING 1",
            (id_, organisation_id),
        )
        return row is not None
