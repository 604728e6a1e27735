"""How many calls of a batch are under way at once: what the workers of its models can take."""

import math
from collections.abc import Sequence

from django.dispatch import Signal

from marketplace.accounts.models import ApiKey, Organisation
from marketplace.batches.formats.lines import TASKS
from marketplace.batches.formats.rows import PIECE_ROWS, PIECE_ROWS_MAX, rows_max
from marketplace.batches.models import Batch
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Worker
from router.domain.request import AUTO

WINDOW_MAX = 256
AHEAD = 1.5
"""More calls than slots, so that a slot that becomes free finds one waiting in the router."""

rows_asked = Signal()
"""Asks how many rows of a ``model`` are best in one call; who does not know answers 0."""


def piece_rows(model: AIModel) -> int:
    """How many rows of a model are sent in one call: as measured, or as many as it says it takes.

    Some are best with few, so where nothing is known they are not many.
    """
    most = rows_max(model.tensors, model.input_schema)
    measured = 0
    for _, answer in rows_asked.send(None, model=model.name):
        if isinstance(answer, int):
            measured = max(measured, answer)
    return min(measured or most or PIECE_ROWS, most or PIECE_ROWS_MAX, PIECE_ROWS_MAX)


def window_for(slots: int, limits: Sequence[int | None] = ()) -> int:
    """How many calls at once, within the caller's own limits; one at least."""
    wanted = math.ceil(slots * AHEAD) + 1 if slots else 1
    return max(1, min([wanted, WINDOW_MAX, *(limit for limit in limits if limit)]))


def window_of(batch: Batch) -> int:
    """The same of a batch, as things are now. ``auto`` may be any model of the endpoint's task."""
    called = Deployment.objects.filter(status=DeploymentStatus.LIVE)
    if AUTO in batch.model_names:
        called = called.filter(version__model__task=TASKS.get(batch.endpoint))
    else:
        called = called.filter(version__model__name__in=batch.model_names)
    workers = Worker.objects.filter(healthy=True, draining=False, pool__deployments__in=called)
    slots = sum(worker.slots for worker in workers.distinct())
    return window_for(slots, calls_at_once(batch))


def calls_at_once(batch: Batch) -> list[int | None]:
    """The limits of the organisation and of the key."""
    organisations = Organisation.objects.filter(pk=batch.organisation_id)
    keys = ApiKey.objects.filter(pk=batch.key_id)
    return [
        *organisations.values_list("calls_at_once", flat=True),
        *keys.values_list("calls_at_once", flat=True),
    ]
