"""Whether this job process and its children were told to stop.

They finish what they have and begin nothing new.
"""

from mmap import mmap

_told = mmap(-1, 1)
"""A byte that is shared with children. No lock guards it: one who is killed would keep that."""


def leave() -> None:
    """From now on, here and in every child."""
    _told[0] = 1


def is_leaving() -> bool:
    """Whether it was told."""
    return bool(_told[0])
