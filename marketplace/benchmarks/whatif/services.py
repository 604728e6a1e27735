"""Asking, and answering what was asked: one at a time, in a job."""

import time
from collections.abc import Callable
from datetime import timedelta

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.benchmarks.models import RunState, WhatIf
from marketplace.benchmarks.whatif.answer import answer
from marketplace.benchmarks.whatif.question import Question, question_as_json
from marketplace.benchmarks.whatif.scene import Unanswerable
from marketplace.catalog.models import AIModel

WAITING_MAX = 20
"""More questions than this are not taken at once."""

STALE_AFTER = timedelta(minutes=5)
"""A job that runs longer than this was killed: the longest a job may take is less than half."""

SAID_EVERY_S = 0.5
ERROR_MAX = 500


class TooManyQuestions(ValueError):
    """So many questions wait already."""


@transaction.atomic
def what_if_ask(*, question: Question, asked_by: User | None) -> WhatIf:
    """Queue a question. Raises ``ValueError`` for an unknown model, :class:`TooManyQuestions`."""
    model = AIModel.objects.filter(name=question.model).first()
    if model is None:
        raise ValueError(_("no model %(name)s") % {"name": repr(question.model)})
    if WhatIf.objects.filter(state=RunState.QUEUED).count() >= WAITING_MAX:
        raise TooManyQuestions(
            _("%(count)s questions wait already: try again in a minute") % {"count": WAITING_MAX}
        )
    return WhatIf.objects.create(
        model=model, question=question_as_json(question), asked_by=asked_by
    )


def what_if_answer_next() -> WhatIf | None:
    """Answer the question that has waited longest, unless another one is being answered."""
    row = _claim()
    if row is None:
        return None
    try:
        question = msgspec.convert(row.question, Question)
        made = answer(question, progress=_progress(row))
    except (Unanswerable, msgspec.ValidationError) as error:
        return _end(row, RunState.FAILED, error=str(error)[:ERROR_MAX])
    except Exception:
        _end(row, RunState.FAILED, error="The simulation failed; the log of the jobs has more.")
        raise
    row.answer = msgspec.to_builtins(made)
    row.progress = 1.0
    return _end(row, RunState.DONE)


@transaction.atomic
def _claim() -> WhatIf | None:
    now = timezone.now()
    running = WhatIf.objects.filter(state=RunState.RUNNING)
    running.filter(started_at__lt=now - STALE_AFTER).update(
        state=RunState.FAILED, ended_at=now, error="The job was cut short; ask again."
    )
    waiting = WhatIf.objects.filter(state=RunState.QUEUED).order_by("id")
    row = waiting.select_for_update(skip_locked=True).first()
    if row is None or running.exists():
        return None
    row.state, row.started_at = RunState.RUNNING, now
    row.save(update_fields=["state", "started_at"])
    return row


def _progress(row: WhatIf) -> Callable[[float], None]:
    said_s = time.monotonic()

    def progress(share: float) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= SAID_EVERY_S:
            said_s = time.monotonic()
            WhatIf.objects.filter(pk=row.pk).update(progress=share)

    return progress


def _end(row: WhatIf, state: RunState, error: str = "") -> WhatIf:
    row.state, row.error, row.ended_at = state, error, timezone.now()
    row.save(update_fields=["state", "error", "ended_at", "answer", "progress"])
    return row
