"""Celery: jobs beside the path of a call (probing, reconciliation), over Valkey or RabbitMQ.

``celery -A workers.celery_app worker`` and ``… beat``. Every task is idempotent: a task whose
worker dies is run again, and one that outlives the visibility timeout runs twice.
"""

import os
from pathlib import Path

from celery import Celery
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
if not settings.BROKER_URL:
    raise ImproperlyConfigured(
        "BROKER_URL is not set; `manage.py up` sets it, or see docs/reference/settings.md"
    )

PROBE_EVERY_S = 5.0
PUBLISH_EVERY_S = 30.0
RECONCILE_EVERY_S = 300.0
PURGE_EVERY_S = 600.0
TASK_LIMIT_S = 120
"""Longest run of any task; the visibility timeout is above it."""

app = Celery("switchyard")
app.conf.update(
    broker_url=settings.BROKER_URL,
    task_ignore_result=True,
    # A task is done when it has finished, not when it was handed out.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_time_limit=TASK_LIMIT_S,
    broker_connection_retry_on_startup=True,
    # On Valkey a killed worker's task comes back after some 6 s with these, else after 100 s.
    broker_transport_options={
        "visibility_timeout": 10 * TASK_LIMIT_S,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
    },
    timezone="UTC",
    include=["workers.tasks.health", "workers.tasks.ledger", "workers.tasks.routing"],
    beat_schedule_filename=str(Path(settings.SWITCHYARD_HOME) / "run" / "celerybeat-schedule"),
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
        "reconcile-ledger": {
            "task": "workers.tasks.ledger.reconcile",
            "schedule": RECONCILE_EVERY_S,
            "options": {"expires": RECONCILE_EVERY_S},
        },
    },
)
