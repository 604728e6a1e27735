"""A job process for a test to kill: it says when it has the beginning of an answer, and hangs."""

import sys
import threading

import django

django.setup()

from marketplace.predictions.models import Prediction  # noqa: E402
from marketplace.predictions.running.job import Following  # noqa: E402
from marketplace.shared.jobs.services import job_run_next  # noqa: E402
from workers import celery_app  # noqa: E402, F401 # registers all kinds


def say_and_hang(following: Following) -> None:
    sys.stdout.write("amid\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    Following._flush = say_and_hang  # type: ignore[method-assign]
    job_run_next(Prediction)
