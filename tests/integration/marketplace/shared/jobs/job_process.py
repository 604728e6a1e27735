"""A process for a test to kill: it begins the next job of a kind, and says when it has begun.

``python -m tests.integration.marketplace.shared.jobs.job_process planning.whatif``
"""

import sys
import threading

import django

django.setup()

from django.apps import apps  # noqa: E402

from marketplace.shared.jobs.kinds import job_kinds  # noqa: E402
from marketplace.shared.jobs.services import Run, job_claim, job_run  # noqa: E402
from workers import celery_app  # noqa: E402, F401 # registers all kinds


def say_and_hang(run: Run, *_: object, **__: object) -> None:
    run.own.update(progress=0.1)
    sys.stdout.write("amid\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    Run.progress = say_and_hang  # type: ignore[method-assign]
    kind = job_kinds[apps.get_model(sys.argv[1])]  # type: ignore[index]
    job_run(kind, job_claim(kind))
