"""Kinds of jobs that wait more than they compute: one process runs several at a time.

Each job has a thread of its own. A thread that has none looks for the next one while others still
run, as the message that tells of a new job may wait behind this very task.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import connections

from marketplace.shared.jobs.kinds import JobKind, job_kinds, task_name
from marketplace.shared.jobs.messages import message_send
from marketplace.shared.jobs.periodic import PeriodicTask, task_register
from marketplace.shared.jobs.services import KILL_AFTER_S, job_run_next

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
    """One task's threads."""

    def __init__(
        self, kind: JobKind, threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kind = kind
        self._clock = clock
        self._until_s = clock() + TAKES_FOR_S
        self._busy = 0
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{n}", daemon=True)
            for n in range(threads)
        ]

    def run(self) -> None:
        """Run jobs until there are none, or the time to take new ones is over."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        if self._clock() >= self._until_s:
            message_send(self._kind.model)

    def _work(self) -> None:
        try:
            while self._clock() < self._until_s:
                if self._ran_one():
                    continue
                connections.close_all()
                with self._changed:
                    if not self._busy:
                        return
                    self._changed.wait(LOOK_EVERY_S)
        except Exception:
            log.exception("a thread of %s", self._kind.model._meta.label)
        finally:
            connections.close_all()

    def _ran_one(self) -> bool:
        with self._changed:
            self._busy += 1
        try:
            return job_run_next(self._kind.model) is not None
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
