"""Kinds of jobs. A feature registers its own in a ``tasks.py`` next to its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from marketplace.shared.jobs.models import Job

if TYPE_CHECKING:
    from marketplace.shared.jobs.services import Run


def _nothing(job: Any) -> None:
    pass


def _first(queued: QuerySet[Any]) -> Any:
    return queued.first()


@dataclass(frozen=True, slots=True)
class JobKind:
    """``work`` does one job and returns the columns to keep with its success.

    ``over`` is called in the transaction in which a job process ends a job, however it ends, with
    the job as it will be. Of a kind ``at_once`` jobs run at a time, each ``attempts_max`` times at
    most, and each time for ``time_limit_s`` at most. ``choose`` is given the jobs that wait, in the
    order of ``turn``, and returns the one that may run now, or None; nobody else chooses meanwhile.

    With a ``command`` each job has its own process, which goes on when the job process ends:
    ``manage.py``, these words and the job's id. To begin it is short enough for the queue control.
    """

    model: type[Job]
    work: Callable[[Run], Mapping[str, Any]]
    over: Callable[[Any], None] = _nothing
    time_limit_s: float = 110.0
    attempts_max: int = 2
    at_once: int = 1
    turn: tuple[str, ...] = ("pk",)
    choose: Callable[[QuerySet[Any]], Any] = _first
    command: tuple[str, ...] = ()


job_kinds: dict[type[Job], JobKind] = {}
"""By their tables. Each job process knows all of them."""


def task_name(model: type[Job]) -> str:
    """What Celery calls the task that runs the next job of this kind."""
    return f"jobs.{model._meta.label_lower}"
