"""A heartbeat of each queue. If all fall silent, the clock or the broker is down; if one does, its
processes are down or busy.
"""

from django.utils import timezone

from marketplace.operations.models import Heartbeat
from marketplace.shared.jobs.periodic import Priority, Queue, every

BEAT_EVERY_S = 30.0


@every(BEAT_EVERY_S, queue=Queue.CONTROL, priority=Priority.FIRST)
def beat_of_control() -> None:
    """The queue control is worked on."""
    _beat(Queue.CONTROL)


@every(BEAT_EVERY_S, queue=Queue.WORK, priority=Priority.FIRST)
def beat_of_work() -> None:
    """The queue work is worked on."""
    _beat(Queue.WORK)


@every(BEAT_EVERY_S, queue=Queue.CALLS, priority=Priority.FIRST)
def beat_of_calls() -> None:
    """The queue calls is worked on."""
    _beat(Queue.CALLS)


def _beat(queue: Queue) -> None:
    Heartbeat.objects.update_or_create(queue=queue, defaults={"beat_at": timezone.now()})
