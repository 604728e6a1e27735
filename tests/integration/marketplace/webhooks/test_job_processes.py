"""The whole path: an event is committed, a job process gets it, and a receiver is notified."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from marketplace.shared.jobs.periodic import Queue
from marketplace.webhooks.services import webhook_send
from tests.databases import as_services, named
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.receiver import Receiver
from tests.patience import PATIENCE_S


@contextmanager
def job_process(broker_url: str, home: Path) -> Iterator[None]:
    url = as_services(named(os.environ["DATABASE_URL"], connection.settings_dict["NAME"]))
    env = {
        **os.environ,
        "DATABASE_URL": url,
        "BROKER_URL": broker_url,
        "WAYPOST_HOME": str(home),
        "WAYPOST_WEBHOOK_NETWORKS": "127.0.0.1/32",
    }
    words = ["-m", "celery", "-A", "workers.celery_app", "worker", "--queues", Queue.WORK]
    names = ["--concurrency", "1", "--hostname", "webhooks@%h", "--loglevel", "WARNING"]
    with subprocess.Popen([sys.executable, *words, *names], env=env) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.nightly
def test_an_event_is_told_by_a_job_process(
    committed_shop: Shop, receiver: Receiver, settings: Any, broker_url: str, tmp_path: Path
) -> None:
    settings.BROKER_URL = broker_url
    with job_process(broker_url, tmp_path):
        webhook_send(
            organisation_id=committed_shop.organisation.pk,
            url=receiver.url,
            event_type="prediction.completed",
            payload={},
            event_id="evt_1",
        )
        assert receiver.came.wait(PATIENCE_S)
    assert receiver.ids == ["evt_1"]
