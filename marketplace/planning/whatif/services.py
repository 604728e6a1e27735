"""Asking, and answering what was asked: one at a time, in a job."""

from typing import Any

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.planning.asking import QuestionInvalid, queue_check
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.answer import answer
from marketplace.planning.whatif.question import Question
from marketplace.planning.whatif.replay.scene import Unanswerable
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import JobFailed, Run, job_ask

WAITING_MAX = 20
"""More questions than this are not taken at once."""


@transaction.atomic
def what_if_ask(*, question: Question, asked_by: User | None) -> WhatIf:
    """Queue a question. Raises :class:`QuestionInvalid` and :class:`QueueFull`."""
    model = AIModel.objects.filter(name=question.model).first()
    if model is None:
        text = _("no model %(name)s") % {"name": repr(question.model)}
        raise QuestionInvalid("model", text)
    queue_check(WhatIf.objects.filter(state=JobState.QUEUED), WAITING_MAX)
    row = WhatIf(model=model, question=msgspec.to_builtins(question), asked_by=asked_by)
    job_ask(row)
    return row


def what_if_answer(run: Run) -> dict[str, Any]:
    """The work of the job: the columns to keep."""
    try:
        question = msgspec.convert(run.job.question, Question)
        made = answer(question, progress=run.progress)
    except (Unanswerable, msgspec.ValidationError) as error:
        raise JobFailed(str(error)) from error
    return {"answer": msgspec.to_builtins(made)}
