"""The clock of dead letters."""

from marketplace.dead_letters.services import letters_keep
from marketplace.shared.jobs.periodic import Queue, every


@every(30.0, queue=Queue.CONTROL)
def keep() -> int:
    """Keep what waits in the queue of the dead; returns how many were new."""
    return letters_keep()
