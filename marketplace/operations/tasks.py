"""A heartbeat of each queue. If all fall silent, the clock or the broker is down; if one does, its
processes are down or busy.
"""

from django.utils import timezone

from marketplace.operations.doctor.work import SILENT_AFTER_S
from marketplace.operations.models import Heartbeat
from marketplace.operations.status.watching import silence_note
from marketplace.shared.jobs.periodic import Priority, Queue, every

BEAT_EVERY_S = 30.0


@every(BEAT_EVERY_S, queue=Queue.CONTROL, priority=Priority.FIRST)
def beat_of_control() -> None:
    """The queue control is worked on."""
    last = Heartbeat.objects.filter(queue=Queue.CONTROL).first()
    _beat(Queue.CONTROL)
    now = timezone.now()
    if last is not None and (now - last.beat_at).total_seconds() > SILENT_AFTER_S[Queue.CONTROL]:
        silence_note(last.beat_at, now)


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
