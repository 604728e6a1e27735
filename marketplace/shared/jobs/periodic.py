"""Periodic tasks. A feature registers them in a ``tasks.py`` next to its code.

``workers/celery_app.py`` reads each ``tasks.py`` of the marketplace, and makes Celery's tasks and
beat's schedule of what they registered. The decorated function stays as it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeVar

TIME_LIMIT_S = 120
"""A run that takes longer is killed, unless its task has another limit."""

Run = TypeVar("Run", bound=Callable[[], object])


class Queue(StrEnum):
    """Each has job processes of its own: what fills one queue delays nothing in the others."""

    CONTROL = "control"
    """Must run in time: short, whatever people ask for. Never two runs of a task at once."""
    WORK = "work"
    """May take minutes, and may wait for as long."""
    CALLS = "calls"
    """Waits for routers more than it computes: many at a time in one process."""


class Priority(IntEnum):
    """Which message of a queue is taken first. The numbers are those that Valkey has lists for."""

    FIRST = 0
    """Ends within seconds, and somebody waits for it."""
    NORMAL = 3
    LAST = 9


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Starts every so many seconds, or at these hours (UTC); never by itself with neither."""

    name: str
    run: Callable[[], object]
    queue: Queue
    every_s: float = 0.0
    hours: tuple[int, ...] = ()
    time_limit_s: float = TIME_LIMIT_S
    priority: Priority = Priority.NORMAL


registered: dict[str, PeriodicTask] = {}
"""By name: the feature's package and the function, like ``tuning.steer_canaries``."""


def every(
    seconds: float,
    *,
    queue: Queue,
    time_limit_s: float = TIME_LIMIT_S,
    priority: Priority = Priority.NORMAL,
) -> Callable[[Run], Run]:
    """Register a function that starts every so many seconds; with 0 never by itself."""

    def register(run: Run) -> Run:
        name = _name(run)
        task_register(
            PeriodicTask(name, run, queue, seconds, time_limit_s=time_limit_s, priority=priority)
        )
        return run

    return register


def daily(
    hours: Iterable[int], *, queue: Queue, time_limit_s: float = TIME_LIMIT_S
) -> Callable[[Run], Run]:
    """Register a function that starts at these hours of the day (UTC); without any, never."""

    def register(run: Run) -> Run:
        task_register(
            PeriodicTask(_name(run), run, queue, hours=tuple(hours), time_limit_s=time_limit_s)
        )
        return run

    return register


def _name(run: Callable[[], object]) -> str:
    package = run.__module__.removeprefix("marketplace.").removesuffix(".tasks")
    return f"{package}.{run.__name__}"


def task_register(task: PeriodicTask) -> None:
    """Make a task known to the process. Raises ``ValueError`` where its name is taken."""
    if task.name in registered:
        raise ValueError(f"two periodic tasks are called {task.name}")
    registered[task.name] = task
