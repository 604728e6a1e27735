"""Who may measure: one benchmark a pool at a time, over all processes and machines.

A benchmark that runs by its row and holds no lock is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from marketplace.shared.jobs.locks import keys_held

LOCK_SPACE = 0x5750_4248  # "WPBH"


def pools_held(pool_ids: Sequence[int]) -> AbstractContextManager[bool]:
    """Hold these pools; gives whether all of them were free, and holds none if not."""
    return keys_held(LOCK_SPACE, pool_ids)


def pools_free(pool_ids: Sequence[int]) -> bool:
    """Whether nobody measures on any of them now."""
    with pools_held(pool_ids) as free:
        return free
