"""Batches are jobs. Periodic tasks deliver what was left, and remove what is no longer needed."""

from django.conf import settings

from marketplace.batches.files.services import files_expire, strays_clear
from marketplace.batches.models import Batch
from marketplace.batches.running.cleaning import parts_clear, parts_deliver
from marketplace.batches.running.job import batch_over, batch_work
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.periodic import Queue, daily, every
from marketplace.shared.jobs.services import job_register

TURN_LIMIT_S = 900.0
"""Longest that a turn with its checks and its delivery takes."""
ATTEMPTS_MAX = 100
"""How often a batch may lose its process: each time it goes on where it was."""
STRAYS_AT = (4,)

job_register(
    JobKind(
        Batch,
        batch_work,
        over=batch_over,
        time_limit_s=TURN_LIMIT_S,
        attempts_max=ATTEMPTS_MAX,
        at_once=settings.WAYPOST_BATCHES_AT_ONCE,
        turn=("turn_at", "pk"),
    )
)


@every(600, queue=Queue.WORK)
def expire_files() -> int:
    """Returns how many went."""
    return files_expire()


@every(300, queue=Queue.WORK, time_limit_s=TURN_LIMIT_S)
def deliver_parts() -> int:
    """Returns how many got what they had."""
    return parts_deliver()


@every(60, queue=Queue.WORK)
def clear_parts() -> int:
    """Returns how many went."""
    return parts_clear()


@daily(STRAYS_AT, queue=Queue.WORK, time_limit_s=TURN_LIMIT_S)
def clear_strays() -> int:
    """Returns how many went."""
    return strays_clear()
