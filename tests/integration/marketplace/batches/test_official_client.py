"""OpenAI's own client, a web process, a router and an emulated worker; and a killed job process."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import openai
import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from deploy.local.services import stack
from marketplace.accounts.services import api_key_create
from marketplace.batches import tasks  # noqa: F401 # the kind of job is known from there
from marketplace.batches.models import Batch, BatchStatus
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.routing.services import snapshot_publish
from marketplace.shared.jobs.services import LOST_AFTER, job_run_next, jobs_sweep
from marketplace.usage.models import UsageEvent
from tests.backend import backend
from tests.integration.marketplace.batches.desk import CHAT, chat_lines, read
from tests.integration.marketplace.shop import Shop
from tests.integration.router.routers import running, until
from tests.ports import free_ports

EMULATED = "emulated/gpt-j-6b"


@dataclass(frozen=True)
class Site:
    """Where the product is, and a client of it; the environment of its processes."""

    client: openai.OpenAI
    environment: dict[str, str]


@contextmanager
def site(shop: Shop, emulator_url: str, home: Path) -> Iterator[Site]:
    """The shop's model on an emulated worker, behind a router; its files and batches on the web."""
    Pool.objects.update(emulated=True)
    shop.model.emulated = True
    shop.model.save()
    Worker.objects.update(url=f"{emulator_url}/emulated-h100-0", slots=2)
    Deployment.objects.update(upstream_model=EMULATED)
    _, key = api_key_create(organisation=shop.organisation, name="client", created_by=shop.owner)
    snapshot_publish()
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(
        **connection.settings_dict
    )
    (port,) = free_ports(1)
    web = stack._web(stack.Options(home=home, web_port=port), needs=())
    words = list(web.argv[web.argv.index("granian") :])
    pepper = os.environ["WAYPOST_KEY_PEPPER"]
    files = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(home / "files")},
    }
    settings = {"WAYPOST_KEY_PEPPER": pepper, "ROUTER_JOBS_URL": f"http://127.0.0.1:{port}"}
    with running("one", database, home, **settings) as router:
        environment = {
            "DATABASE_URL": database,
            "WAYPOST_HOME": str(home),
            "WAYPOST_ROUTER_URL": router.url,
        }
        known = override_settings(STORAGES={"files": files}, WAYPOST_ROUTER_URL=router.url)
        robots = f"http://127.0.0.1:{port}/robots.txt"
        with known, backend(words, robots, home / "web.log", environment):
            base_url = f"{router.url}/v1"
            yield Site(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), environment)


def test_openais_client_sends_a_file_and_reads_its_answers(
    committed_shop: Shop, emulator_url: str, tmp_path: Path
) -> None:
    with site(committed_shop, emulator_url, tmp_path) as on:
        content = chat_lines(24)
        file = on.client.files.create(file=("calls.jsonl", content), purpose="batch")
        assert on.client.files.content(file.id).read() == content
        assert [item.id for item in on.client.files.list()] == [file.id]
        batch = on.client.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            metadata={"night": "1"},
        )
        assert batch.status == "validating"
        job_run_next(Batch)
        batch = on.client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.completed == batch.request_counts.total == 24
        assert [item.id for item in on.client.batches.list()] == [batch.id]
        assert batch.output_file_id is not None
        lines = on.client.files.content(batch.output_file_id).text.splitlines()
        assert len(lines) == 24
        assert "chat.completion" in lines[0]
        assert on.client.files.delete(batch.output_file_id).deleted
        with pytest.raises(openai.NotFoundError):
            on.client.files.retrieve(batch.output_file_id)
        with pytest.raises(openai.AuthenticationError):
            on.client.with_options(api_key="wp_live_none").batches.list()


def test_a_killed_process_loses_no_line_and_charges_none_twice(
    committed_shop: Shop, emulator_url: str, tmp_path: Path
) -> None:
    count = 150
    with site(committed_shop, emulator_url, tmp_path) as on:
        file = on.client.files.create(file=("calls.jsonl", chat_lines(count)), purpose="batch")
        made = on.client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h"
        )
        for kills in range(2):
            kill_amid(on.environment, more_than=20 * (kills + 1))
            Batch.objects.update(heartbeat_at=timezone.now() - LOST_AFTER - timedelta(seconds=1))
            assert jobs_sweep() == 1
        while job_run_next(Batch):
            pass
        batch = Batch.objects.get(public_id=made.id)
        assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, count)
        answered = Counter(line["custom_id"] for line in read(batch.output_file))
        assert answered == Counter(f"line-{number}" for number in range(1, count + 1))
        charged = UsageEvent.objects.filter(charge_nano__gt=0)
        until(lambda: charged.count() >= count)
        assert charged.count() == count


def kill_amid(environment: dict[str, str], more_than: int) -> None:
    """Run the batch in a process, and kill it once so many calls have been charged."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.marketplace.batches.job_process"],
        env={**os.environ, **environment},
    ) as process:
        until(lambda: UsageEvent.objects.count() > more_than or process.poll() is not None)
        process.kill()
        assert process.wait() == -signal.SIGKILL
