"""Asking, and answering what was asked: one at a time, in a job."""

from typing import Any

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.answer import answer
from marketplace.planning.whatif.question import Question, question_as_json
from marketplace.planning.whatif.scene import Unanswerable
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import JobFailed, Run, job_ask

WAITING_MAX = 20
"""More questions than this are not taken at once."""


class TooManyQuestions(ValueError):
    """So many questions wait already."""


@transaction.atomic
def what_if_ask(*, question: Question, asked_by: User | None) -> WhatIf:
    """Queue a question. Raises ``ValueError`` for an unknown model, :class:`TooManyQuestions`."""
    model = AIModel.objects.filter(name=question.model).first()
    if model is None:
        raise ValueError(_("no model %(name)s") % {"name": repr(question.model)})
    if WhatIf.objects.filter(state=JobState.QUEUED).count() >= WAITING_MAX:
        raise TooManyQuestions(
            _("%(count)s questions wait already: try again in a minute") % {"count": WAITING_MAX}
        )
    row = WhatIf(model=model, question=question_as_json(question), asked_by=asked_by)
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
