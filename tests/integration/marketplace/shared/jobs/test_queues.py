"""The job processes that `manage.py up` starts: what fills one queue delays nothing in another."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from deploy.local.home import secrets
from deploy.local.processes.health import logged
from deploy.local.services import stack
from deploy.local.services.stack import Options
from marketplace.accounts.models import User
from marketplace.catalog.models import Worker
from marketplace.operations.models import Heartbeat
from marketplace.planning.models import WhatIf
from marketplace.routing.models import PolicyState
from marketplace.routing.trials.models import Trial
from marketplace.shared.jobs.messages import message_send
from marketplace.shared.jobs.periodic import Queue
from marketplace.shared.jobs.services import job_ask
from tests.backend import running
from tests.databases import as_services, named
from tests.embedded import wait_until
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.tuning.looping import around, calls, running_trial
from tests.patience import PATIENCE_S
from workers.celery_app import app

WORK_PROCESSES = 1
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"


@pytest.fixture
def job_processes(committed_shop: Shop, postgres_url: str, tmp_path: Path) -> Iterator[None]:
    """Those of a stack, on this test's database and the run's Valkey."""
    env = {
        "DATABASE_URL": as_services(named(postgres_url, connection.settings_dict["NAME"])),
        "WAYPOST_CONTROL_PROCESSES": "1",
        "WAYPOST_WORK_PROCESSES": str(WORK_PROCESSES),
    }
    services = stack.build(Options(tmp_path), secrets.load_or_make(tmp_path, {})).services
    with ExitStack() as up:
        for service in services:
            if service.name in {"jobs-control", "jobs-work"}:
                log = tmp_path / service.name
                words = list(service.argv[service.argv.index("celery") :])
                up.enter_context(running(words, lambda log=log: logged(" ready.")(log), log, env))
        yield


def test_a_job_begins_at_once_and_a_bad_canary_is_rolled_back_while_long_jobs_fill_their_queue(
    committed_shop: Shop, job_processes: None, by_admin: psycopg.Connection
) -> None:
    shop = committed_shop
    a_job_begins_as_it_is_asked_for_though_no_clock_runs(shop)
    heard = Heartbeat.objects.filter(queue__in=[Queue.CONTROL, Queue.WORK])
    wait_until(lambda: heard.count() == 2, PATIENCE_S, "the queues were not heard at their start")
    trial = running_trial(shop, User.objects.create_user("staff@example.com", is_staff=True))
    calls(shop.deployment, around(200.0, 300, 1), policy=trial.baseline_id)
    calls(shop.deployment, around(1_500.0, 100, 2, 0.1), policy=trial.policy_id)
    questions = WhatIf._meta.db_table

    def work_is_full() -> bool:
        return by_admin.execute(WAITING, [questions]).fetchone() == (WORK_PROCESSES,)

    # Anybody who claims a question waits for this lock.
    by_admin.execute(f"LOCK TABLE {questions} IN ACCESS EXCLUSIVE MODE")
    for _ in range(3 * WORK_PROCESSES):
        message_send(WhatIf)
    wait_until(work_is_full, PATIENCE_S, "the long jobs did not begin")
    app.send_task("catalog.probe_workers")
    app.send_task("tuning.steer_canaries")
    rolled_back = Trial.objects.filter(pk=trial.pk, policy__state=PolicyState.ROLLED_BACK)
    wait_until(rolled_back.exists, PATIENCE_S, "the canary was not rolled back")
    probed = Worker.objects.exclude(health_checked_at=None)
    wait_until(probed.exists, PATIENCE_S, "no worker was probed")
    assert work_is_full()


def a_job_begins_as_it_is_asked_for_though_no_clock_runs(shop: Shop) -> None:
    question = WhatIf(model=shop.model, question={})
    job_ask(question)
    ended = WhatIf.objects.filter(pk=question.pk, ended_at__isnull=False)
    wait_until(ended.exists, PATIENCE_S, "nobody took up the job")
