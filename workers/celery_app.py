"""Celery: jobs beside the path of a call (probing, reconciliation), over Valkey or RabbitMQ.

``celery -A workers.celery_app worker`` and ``… beat``. Every task is idempotent: a task whose
worker dies is run again, and one that outlives the visibility timeout runs twice.
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import task_postrun, task_prerun, worker_ready
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from marketplace.audit.jobs import job_begins
from workers import queues

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
if not settings.BROKER_URL:
    raise ImproperlyConfigured(
        "BROKER_URL is not set; `manage.py up` sets it, or see docs/reference/settings.md"
    )

PROBE_EVERY_S = 5.0
PUBLISH_EVERY_S = 30.0
RECONCILE_EVERY_S = 300.0
INVOICE_EVERY_S = 3600.0
PURGE_EVERY_S = 600.0
PARTITIONS_EVERY_S = 6 * 3600.0
FIGURES_EVERY_S = 30.0
ROLLUPS_EVERY_S = 120.0
LATE_ROLLUPS_EVERY_S = 6 * 3600.0
PURSUE_EVERY_S = 60.0
WHAT_IF_EVERY_S = 2.0
BENCHMARKS_EVERY_S = 5.0
NEWS_EVERY_S = 120.0
FOLD_EVERY_S = 60.0
PROPOSE_EVERY_S = 300.0
STEER_EVERY_S = 5.0
WATCH_EVERY_S = 10.0
ADVICE_EVERY_S = 2.0
KEYS_USED_EVERY_S = 30.0
CHECK_EVERY_S = 2.0
TASK_LIMIT_S = 120
"""Longest run of any task; the visibility timeout is above it."""


def _automatic_benchmarks() -> dict[str, Any]:
    """At the hours that are set, and when something is new; {} when nobody wants them."""
    if not settings.WAYPOST_BENCHMARKS_AUTO:
        return {}
    found: dict[str, Any] = {
        "benchmark-what-is-new": {
            "task": "workers.tasks.benchmarks.benchmark_what_is_new",
            "schedule": NEWS_EVERY_S,
            "options": {"expires": NEWS_EVERY_S},
        }
    }
    if settings.WAYPOST_BENCHMARK_HOURS:
        hours = ",".join(map(str, settings.WAYPOST_BENCHMARK_HOURS))
        found["benchmark-every-deployment"] = {
            "task": "workers.tasks.benchmarks.benchmark_every_deployment",
            "schedule": crontab(minute=0, hour=hours),
            "options": {"expires": 3600.0},
        }
    return found


app = Celery("waypost")
app.conf.update(
    broker_url=settings.BROKER_URL,
    task_ignore_result=True,
    # A task is done when it has finished, not when it was handed out.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_default_queue=queues.JOBS,
    task_routes={"workers.tasks.tuning.steer_canaries": {"queue": queues.STEERING}},
    task_time_limit=TASK_LIMIT_S,
    broker_connection_retry_on_startup=True,
    # On Valkey a killed worker's task comes back after some 6 s with these, else after 100 s.
    broker_transport_options={
        "visibility_timeout": 10 * TASK_LIMIT_S,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
    },
    timezone="UTC",
    include=[
        f"workers.tasks.{name}"
        for name in (
            "advisor",
            "benchmarks",
            "health",
            "invoices",
            "ledger",
            "payments",
            "providers",
            "routing",
            "tuning",
            "usage",
            "what_ifs",
        )
    ],
    beat_schedule_filename=str(Path(settings.WAYPOST_HOME) / "run" / "celerybeat-schedule"),
    # A run that is late is not worth two: each expires when the next one is due.
    beat_schedule={
        "probe-workers": {
            "task": "workers.tasks.health.probe_workers",
            "schedule": PROBE_EVERY_S,
            "options": {"expires": PROBE_EVERY_S},
        },
        "publish-what-came-due": {
            "task": "workers.tasks.routing.publish_what_came_due",
            "schedule": PUBLISH_EVERY_S,
            "options": {"expires": PUBLISH_EVERY_S},
        },
        "purge-idempotency-keys": {
            "task": "workers.tasks.routing.purge_idempotency_keys",
            "schedule": PURGE_EVERY_S,
            "options": {"expires": PURGE_EVERY_S},
        },
        "issue-invoices": {
            "task": "workers.tasks.invoices.issue_last_month",
            "schedule": INVOICE_EVERY_S,
            "options": {"expires": INVOICE_EVERY_S},
        },
        "check-advice": {
            "task": "workers.tasks.advisor.check_advice",
            "schedule": ADVICE_EVERY_S,
            "options": {"expires": ADVICE_EVERY_S},
        },
        "check-listings": {
            "task": "workers.tasks.providers.check_next_listing",
            "schedule": CHECK_EVERY_S,
            "options": {"expires": CHECK_EVERY_S},
        },
        "follow-listings": {
            "task": "workers.tasks.providers.follow_benchmarks",
            "schedule": CHECK_EVERY_S,
            "options": {"expires": CHECK_EVERY_S},
        },
        "pursue-payments": {
            "task": "workers.tasks.payments.pursue_payments",
            "schedule": PURSUE_EVERY_S,
            "options": {"expires": PURSUE_EVERY_S},
        },
        "reconcile-ledger": {
            "task": "workers.tasks.ledger.reconcile",
            "schedule": RECONCILE_EVERY_S,
            "options": {"expires": RECONCILE_EVERY_S},
        },
        "make-usage-partitions": {
            "task": "workers.tasks.usage.make_partitions",
            "schedule": PARTITIONS_EVERY_S,
            "options": {"expires": PARTITIONS_EVERY_S},
        },
        "forget-refusals": {
            "task": "workers.tasks.usage.forget_refusals",
            "schedule": PARTITIONS_EVERY_S,
            "options": {"expires": PARTITIONS_EVERY_S},
        },
        "answer-what-ifs": {
            "task": "workers.tasks.what_ifs.answer_next",
            "schedule": WHAT_IF_EVERY_S,
            "options": {"expires": WHAT_IF_EVERY_S},
        },
        "compute-model-figures": {
            "task": "workers.tasks.usage.compute_figures",
            "schedule": FIGURES_EVERY_S,
            "options": {"expires": FIGURES_EVERY_S},
        },
        "note-keys-used": {
            "task": "workers.tasks.usage.note_keys_used",
            "schedule": KEYS_USED_EVERY_S,
            "options": {"expires": KEYS_USED_EVERY_S},
        },
        "compute-deployment-rollups": {
            "task": "workers.tasks.usage.compute_rollups",
            "schedule": ROLLUPS_EVERY_S,
            "options": {"expires": ROLLUPS_EVERY_S},
        },
        "compute-late-rollups": {
            "task": "workers.tasks.usage.compute_late_rollups",
            "schedule": LATE_ROLLUPS_EVERY_S,
            "options": {"expires": LATE_ROLLUPS_EVERY_S},
        },
        "start-benchmarks": {
            "task": "workers.tasks.benchmarks.start_benchmarks",
            "schedule": BENCHMARKS_EVERY_S,
            "options": {"expires": BENCHMARKS_EVERY_S},
        },
        **_automatic_benchmarks(),
        "fold-telemetry": {
            "task": "workers.tasks.tuning.fold_telemetry",
            "schedule": FOLD_EVERY_S,
            "options": {"expires": FOLD_EVERY_S},
        },
        "propose-policies": {
            "task": "workers.tasks.tuning.propose",
            "schedule": PROPOSE_EVERY_S,
            "options": {"expires": PROPOSE_EVERY_S},
        },
        "steer-canaries": {
            "task": "workers.tasks.tuning.steer_canaries",
            "schedule": STEER_EVERY_S,
            "options": {"expires": STEER_EVERY_S},
        },
        "watch-stragglers": {
            "task": "workers.tasks.tuning.watch_stragglers",
            "schedule": WATCH_EVERY_S,
            "options": {"expires": WATCH_EVERY_S},
        },
    },
)


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _prove_the_books_at_once(**_: object) -> None:
    """Beat would let a fresh installation wait for its first report."""
    app.send_task("workers.tasks.ledger.reconcile", expires=RECONCILE_EVERY_S)


@task_prerun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _acts_as_job(task: Any = None, **_: Any) -> None:
    """What a job changes is the job's, in the audit log."""
    job_begins(task.name.removeprefix("workers.tasks."))


@task_postrun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _acts_no_more(**_: Any) -> None:
    job_begins("")
