"""The clock of webhooks: what is due is sent, and what is old is forgotten."""

from datetime import timedelta

from django.utils import timezone

from marketplace.shared.jobs.periodic import Priority, Queue, every
from marketplace.shared.sweeping import swept
from marketplace.webhooks import delivering
from marketplace.webhooks.models import Delivery, DeliveryState
from marketplace.webhooks.services import contents_forget

KEPT_FOR = timedelta(days=30)
FORGOTTEN_AT_ONCE = 5_000


@every(15.0, queue=Queue.WORK, priority=Priority.FIRST)
def deliver() -> int:
    """Make the attempts that are due; a message asks for it sooner. Returns how many."""
    return delivering.deliver()


@every(300.0, queue=Queue.WORK, priority=Priority.LAST)
def forget_contents() -> int:
    """Empty old deliveries of organisations that keep too many bytes; returns how many."""
    return swept(lambda: contents_forget(FORGOTTEN_AT_ONCE))


@every(3600.0, queue=Queue.WORK, priority=Priority.LAST)
def forget() -> int:
    """Delete deliveries that ended and are older than `KEPT_FOR`; returns how many."""
    old = Delivery.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    ended = old.exclude(state=DeliveryState.WAITING).order_by("created_at").values("pk")

    def some() -> int:
        # Django reads what it deletes, and a body may have a megabyte.
        gone = Delivery.objects.filter(pk__in=ended[:FORGOTTEN_AT_ONCE]).only("pk")
        return gone.delete()[1].get(Delivery._meta.label, 0)

    return swept(some)
