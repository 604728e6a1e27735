"""A job process for a test to kill: ``between`` two stages, or where one is ``answered``."""

import sys
import threading
from typing import Any

import django

django.setup()

from marketplace.predictions.models import Prediction, Status  # noqa: E402
from marketplace.predictions.running.stages import StageRun  # noqa: E402
from marketplace.shared.jobs.services import job_run_next  # noqa: E402
from workers import celery_app  # noqa: E402, F401 # registers all kinds


def say_and_hang() -> None:
    sys.stdout.write("amid\n")
    sys.stdout.flush()
    threading.Event().wait()


def end_unwritten(stage_run: StageRun, status: Status, **columns: Any) -> None:
    say_and_hang()


def begin_first_only(stage_run: StageRun, *given: Any) -> None:
    if stage_run._row.place > 0:
        say_and_hang()
    to_the_end(stage_run, *given)


if __name__ == "__main__":
    to_the_end = StageRun.to_the_end
    if sys.argv[1] == "between":
        StageRun.to_the_end = begin_first_only  # type: ignore[method-assign]
    else:
        StageRun._end = end_unwritten  # type: ignore[method-assign]
    job_run_next(Prediction)
