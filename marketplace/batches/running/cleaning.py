"""What batches that are over no longer need."""

from contextlib import suppress

from marketplace.batches.files.services import files_storage
from marketplace.batches.models import STATUSES_OPEN, Batch

BATCHES_AT_ONCE = 50


def parts_clear() -> int:
    """Delete the parts of batches that are over, objects first; returns of how many batches."""
    over = Batch.objects.exclude(status__in=STATUSES_OPEN).filter(parts__isnull=False)
    batches = list(over.distinct().order_by("pk")[:BATCHES_AT_ONCE])
    storage = files_storage()
    for batch in batches:
        # Whatever is there: a process that died left objects that no row names.
        with suppress(FileNotFoundError):
            for name in storage.listdir(batch.folder)[1]:
                storage.delete(f"{batch.folder}/{name}")
        batch.parts.all().delete()
    return len(batches)
