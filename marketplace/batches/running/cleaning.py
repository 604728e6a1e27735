"""What batches that are over still need, and what they no longer do."""

import logging
from contextlib import suppress
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from marketplace.batches.files.services import files_storage
from marketplace.batches.models import STATUSES_OPEN, Batch
from marketplace.batches.running.job import deliver

BATCHES_AT_ONCE = 50
DELIVERED_WITHIN = timedelta(days=1)
"""For so long after its end the results of a batch are kept that could not be delivered."""

log = logging.getLogger(__name__)


def parts_deliver() -> int:
    """Deliver what batches have whose job could not, as it was lost; returns how many got it."""
    delivered = 0
    for batch in _over().filter(_undelivered())[:BATCHES_AT_ONCE]:
        try:
            deliver(batch, Batch.objects.filter(pk=batch.pk))
            delivered += 1
        except Exception:
            # What is wrong with one must not keep the others from being delivered.
            log.exception("%s", batch)
    return delivered


def parts_clear() -> int:
    """Delete the parts of delivered batches, objects first; returns of how many batches."""
    batches = list(_over().exclude(_undelivered())[:BATCHES_AT_ONCE])
    storage = files_storage()
    for batch in batches:
        # Whatever is there: a process that died left objects that no row names.
        with suppress(FileNotFoundError):
            for name in storage.listdir(batch.folder)[1]:
                storage.delete(f"{batch.folder}/{name}")
        batch.parts.all().delete()
    return len(batches)


def _over() -> QuerySet[Batch]:
    """Those that are over and have parts, the oldest first."""
    over = Batch.objects.exclude(status__in=STATUSES_OPEN).filter(parts__isnull=False)
    return over.distinct().order_by("pk")


def _undelivered() -> Q:
    return Q(delivered_at=None, ended_at__gt=timezone.now() - DELIVERED_WITHIN)
