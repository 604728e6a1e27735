"""Making predictions is a job; what is too late or too old is swept."""

from django.utils import timezone

from marketplace.predictions.models import Prediction
from marketplace.predictions.running.job import RUN_S_MAX
from marketplace.predictions.running.stages import work
from marketplace.predictions.selectors import whose_turn
from marketplace.predictions.services import (
    prediction_over,
    predictions_abort,
    predictions_forget,
)
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.periodic import Queue, every
from marketplace.shared.jobs.together import jobs_register_together

AT_ONCE = 16
"""Predictions that run at a time, in all processes together."""
ABORT_EVERY_S = 5.0
FORGET_EVERY_S = 600.0

jobs_register_together(
    JobKind(
        Prediction,
        work,
        over=prediction_over,
        time_limit_s=RUN_S_MAX + 30,
        attempts_max=3,
        at_once=AT_ONCE,
        choose=whose_turn,
    ),
    threads=AT_ONCE,
)


@every(ABORT_EVERY_S, queue=Queue.CONTROL)
def abort() -> int:
    """End those whose deadline passed while they waited."""
    return predictions_abort(timezone.now())


@every(FORGET_EVERY_S, queue=Queue.WORK)
def forget() -> int:
    """Delete what was kept for long enough."""
    return predictions_forget(timezone.now())
