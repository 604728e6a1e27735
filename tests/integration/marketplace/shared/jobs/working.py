"""Jobs over any work, and what is sent of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from queue import Empty
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from kombu import Connection

from marketplace.planning.models import WhatIf
from marketplace.shared.jobs.brokers import queues
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import Job
from marketplace.shared.jobs.services import LOST_AFTER, job_ask, job_claim, job_run
from tests.databases import as_services, named
from tests.integration.marketplace.shop import Shop
from workers import celery_app  # noqa: F401 # registers all kinds


class Messages:
    """What was sent to the job processes since the last look."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def taken(self) -> list[str]:
        found: list[str] = []
        for queue in queues():
            with Connection(self._broker_url) as broker, broker.SimpleQueue(queue) as waiting:
                found += self._taken(waiting)
        return found

    def _taken(self, waiting: Any) -> Iterator[str]:
        with suppress(Empty):
            while True:
                message = waiting.get(block=False)
                message.ack()
                yield message.headers["task"]


def run_next(model: type[Job]) -> Job | None:
    """Claim and run a job here, also of a kind that has its own processes."""
    job: Job | None = job_claim(job_kinds[model])
    if job is not None:
        job_run(job_kinds[model], job)
    return job


def this_database() -> str:
    return as_services(named(os.environ["DATABASE_URL"], connection.settings_dict["NAME"]))


def ask(shop: Shop) -> WhatIf:
    job = WhatIf(model=shop.model, question={}, asked_by=shop.owner)
    job_ask(job)
    return job


def kind_changes(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    kind = replace(job_kinds[WhatIf], **changes)
    monkeypatch.setitem(job_kinds, WhatIf, kind)
    return kind


def grow_old(job: Job) -> None:
    """As if the last heartbeat were as long ago as makes it lost."""
    type(job)._default_manager.filter(pk=job.pk).update(
        heartbeat_at=timezone.now() - LOST_AFTER - timedelta(seconds=1)
    )
