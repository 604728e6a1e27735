"""Celery: jobs apart from the path of a call (probing, reconciliation), over Valkey or RabbitMQ.

``celery -A workers.celery_app worker --queues control``, the same with ``work`` and ``calls``, and
``… beat``. Every task is idempotent: a task whose worker dies is run again, and one that outlives
the visibility timeout runs twice. What there is to run is in each ``tasks.py`` of the marketplace.
"""

import gc
import os
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from celery import Celery
from celery.schedules import crontab
from celery.signals import (
    celeryd_init,
    heartbeat_sent,
    import_modules,
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutting_down,
)
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from marketplace.shared.jobs import leaving
from marketplace.shared.jobs.brokers import priority_of
from marketplace.shared.jobs.current import acting_as
from marketplace.shared.jobs.locks import key_held
from marketplace.shared.jobs.periodic import PeriodicTask, Queue, registered
from workers.delivery import delivery_conf

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
if not settings.BROKER_URL:
    raise ImproperlyConfigured(
        "BROKER_URL is not set; `manage.py up` sets it, or see docs/reference/settings.md"
    )
PROCESSES = {
    Queue.CONTROL: settings.WAYPOST_CONTROL_PROCESSES,
    Queue.WORK: settings.WAYPOST_WORK_PROCESSES,
    Queue.CALLS: settings.WAYPOST_CALLS_PROCESSES,
}
ROOT = Path(__file__).resolve().parent.parent
RUN = Path(settings.WAYPOST_HOME) / "run"
RUNS_SPACE = 0x5750_524E  # "WPRN": this task runs now

django.setup()
for path in sorted((ROOT / "marketplace").rglob("tasks.py")):
    import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def _beat_entry(task: PeriodicTask) -> dict[str, Any]:
    """A run that is late is not worth two: it expires when the next one is due."""
    at = crontab(minute="0", hour=",".join(map(str, task.hours))) if task.hours else task.every_s
    expires_s = 3600.0 if task.hours else task.every_s
    priority = priority_of(task.priority, settings.BROKER_URL)
    options = {"expires": expires_s, "priority": priority}
    return {"task": task.name, "schedule": at, "options": options}


def _run_of(task: PeriodicTask) -> Callable[[], object]:
    """What it changes is the job's in the audit log.

    Of a task of ``control`` there is one run at a time: a slow one must not take every slot.
    """

    def run() -> object:
        with acting_as(task.name):
            return task.run()

    def run_alone() -> object:
        with key_held(RUNS_SPACE, zlib.crc32(task.name.encode()) - 2**31) as is_alone:
            return run() if is_alone else None

    return run_alone if task.queue is Queue.CONTROL else run


app = Celery("waypost")
app.conf.update(
    **delivery_conf(settings.BROKER_URL, max(task.time_limit_s for task in registered.values())),
    task_routes={task.name: {"queue": task.queue} for task in registered.values()},
    timezone="UTC",
    beat_schedule_filename=str(RUN / "celerybeat-schedule"),
    beat_schedule={
        task.name: _beat_entry(task) for task in registered.values() if task.every_s or task.hours
    },
)
for _task in registered.values():
    app.task(_run_of(_task), name=_task.name, time_limit=_task.time_limit_s)


@import_modules.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _make_run_folder(**_: object) -> None:
    """Before a process or the clock starts: `beat_init` comes after the clock opens its file."""
    RUN.mkdir(parents=True, exist_ok=True)


@heartbeat_sent.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _show_life(sender: Any, **_: object) -> None:
    """Every two seconds while its loop runs and the broker answers: a probe looks at the file."""
    (RUN / f"{sender.eventer.hostname.partition('@')[0]}.alive").touch()


@celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _processes_of_its_queues(conf: Any, options: Mapping[str, Any], **_: Any) -> None:
    """As the settings say, unless the command line does."""
    queues = options.get("queues") or list(Queue)
    conf.worker_concurrency = sum(PROCESSES[Queue(name)] for name in queues)


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _leave_the_logs_as_they_are(**_: object) -> None:
    """Celery sets up its own, without the ids of a job, unless somebody else has."""


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _share_memory_with_children(**_: object) -> None:
    """What is loaded before the fork stays shared: a collection would write to all of it."""
    gc.collect()
    gc.freeze()


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _prove_the_books_at_once(**_: object) -> None:
    """Beat would let a fresh installation wait for its first report."""
    reconcile = registered["billing.reconcile"]
    app.send_task(reconcile.name, expires=reconcile.every_s)


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _be_heard_at_once(sender: Any, **_: object) -> None:
    """Until the clock's next heartbeat, a queue that is worked on again would be called silent."""
    for queue in sender.app.amqp.queues.consume_from:
        task = registered[f"operations.beat_of_{queue}"]
        app.send_task(task.name, **_beat_entry(task)["options"])


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _take_no_more(**_: object) -> None:
    """Celery waits for what runs, and a task that takes job after job would run until killed."""
    leaving.leave()
