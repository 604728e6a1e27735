"""Kinds of jobs that wait more than they compute: one process runs several at a time.

Each job has its own thread. While jobs run, the task looks for the next one, as the message
that tells of a new job may wait behind this very task.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from django.db import connections

from marketplace.shared.jobs.kinds import JobKind, job_kinds, task_name
from marketplace.shared.jobs.leaving import is_leaving
from marketplace.shared.jobs.messages import message_send
from marketplace.shared.jobs.periodic import PeriodicTask, task_register
from marketplace.shared.jobs.services import KILL_AFTER_S, job_claim, job_run

TAKES_FOR_S = 3_600.0
"""A task takes new jobs for so long; then another task goes on, so that each ends in time."""
LOOK_EVERY_S = 0.25

log = logging.getLogger(__name__)


def jobs_register_together(kind: JobKind, *, threads: int) -> None:
    """As ``job_register``, for a kind of which a process runs up to ``threads`` at a time."""

    def run() -> None:
        Together(kind, threads).run()

    limit_s = TAKES_FOR_S + kind.time_limit_s + KILL_AFTER_S
    task_register(PeriodicTask(task_name(kind.model), run, kind.model.queue, time_limit_s=limit_s))
    job_kinds[kind.model] = kind


class Together:
    """One task. It claims the jobs itself and gives each a thread, of which it has ``threads``.

    ``leaving`` says that its process was told to stop.
    """

    def __init__(
        self,
        kind: JobKind,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
        leaving: Callable[[], bool] = is_leaving,
    ) -> None:
        self._kind = kind
        self._threads = threads
        self._clock = clock
        self._leaving = leaving
        self._until_s = clock() + TAKES_FOR_S

    def run(self) -> None:
        """Run jobs until there are none, or another task is to take the next ones."""
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="job") as pool:
            while self._clock() < self._until_s and not self._leaving():
                job = job_claim(self._kind) if len(running) < self._threads else None
                if job is not None:
                    running.add(pool.submit(self._run, job))
                elif running:
                    running = wait(running, LOOK_EVERY_S, FIRST_COMPLETED).not_done
                else:
                    return
        message_send(self._kind.model)

    def _run(self, job: Any) -> None:
        try:
            job_run(self._kind, job)
        except Exception:
            # It has lost its process, for all that the sweep can tell.
            log.exception("%s %s", self._kind.model._meta.label, job.pk)
        finally:
            connections.close_all()
