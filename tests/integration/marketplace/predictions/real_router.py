"""A real router before one emulated worker, and job processes that are killed during their work."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from marketplace.accounts.services import api_key_create
from marketplace.inference.callers import Caller
from marketplace.predictions.models import Prediction
from marketplace.routing.services import snapshot_publish
from marketplace.shared.jobs.services import LOST_AFTER, job_run_next, jobs_sweep
from marketplace.usage.models import UsageEvent
from tests.databases import as_services, named
from tests.integration.marketplace.shop import Shop
from tests.integration.router.routers import UPSTREAM, running, until
from workers import celery_app  # noqa: F401 # registers all kinds


@contextmanager
def served_by(shop: Shop, worker_url: str, folder: Path) -> Iterator[Caller]:
    """The router, and a caller with a key."""
    shop.worker.url = worker_url
    shop.worker.save()
    shop.deployment.upstream_model = UPSTREAM
    shop.deployment.save()
    api_key, _secret = api_key_create(
        organisation=shop.organisation, name="jobs", scopes=["inference"]
    )
    snapshot_publish()
    pepper = settings.WAYPOST_KEY_PEPPER.decode()
    with (
        running("one", database(), folder, WAYPOST_KEY_PEPPER=pepper) as router,
        patch.dict(os.environ, WAYPOST_ROUTER_URL=router.url),
        override_settings(WAYPOST_ROUTER_URL=router.url),
    ):
        yield Caller(shop.organisation.pk, shop.customer_account.pk, key_id=api_key.pk)


def database() -> str:
    return as_services(named(os.environ["DATABASE_URL"], connection.settings_dict["NAME"]))


def killed(module: str, *words: str) -> None:
    """Have a process begin a prediction, and kill it when it says that it hangs."""
    command = [sys.executable, "-m", module, *words]
    env = {**os.environ, "DATABASE_URL": database()}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()
    assert (said, process.returncode) == ("amid\n", -signal.SIGKILL)


def taken_over() -> None:
    """Have this process run what the killed one began."""
    Prediction.objects.update(heartbeat_at=timezone.now() - LOST_AFTER - timedelta(seconds=1))
    assert jobs_sweep() == 1
    job_run_next(Prediction)


def usage(calls: int) -> list[Any]:
    """The calls on the books, once there are so many."""
    rows = UsageEvent.objects.order_by("pk")
    until(lambda: rows.count() >= calls)
    return list(rows)
