"""``python -m tests.bench.pages``: what pages cost the server with a large history of calls.

Takes the database of ``DATABASE_URL``, generates a history where it has none (``--rows``), and asks
Django for each page in this process, templates and queries included, the network and the web
server's queue left out. Signed in as the owner of the busiest organisation. The figures are those
of repeated views; the first one is listed by itself. On a machine that is busy with other things
the CPU time, of this process and its database session, says more than the clock. ``--write FILE``
puts the table between the markers of a document.
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.database import ROOT, cpu_s, migrated_database

if TYPE_CHECKING:
    from django.test import Client

MARKERS = "<!-- pages: begin -->", "<!-- pages: end -->"
HOST = "127.0.0.1"


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of a history to generate")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    with migrated_database() as url:
        import django

        django.setup()
        from marketplace.usage.rankings import rankings_compute
        from marketplace.usage.services import deployment_rollups_compute, figures_compute
        from tests.bench.generate.history import is_generated

        if not is_generated():
            command = [sys.executable, "-m", "tests.bench.generate", "history"]
            command += ["--rows", str(options.rows)]
            environment = {**os.environ, "DATABASE_URL": url}
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
        figures_compute()
        deployment_rollups_compute()
        rankings_compute()
        # As the web process starts: with all views imported.
        importlib.import_module("marketplace.config.wsgi")
        table = _measure(options.views)
    print(table)
    if options.write is not None:
        text = options.write.read_text()
        begin, end = MARKERS
        head, _, rest = text.partition(begin)
        options.write.write_text(f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}")
    return 0


def _measure(views: int) -> str:
    from django.test import Client

    from marketplace.accounts.models import User
    from tests.bench.generate.history import OWNER

    client = Client(headers={"host": HOST})
    client.force_login(User.objects.get(email=OWNER))
    lines = [
        "| Page | p50 ms | p95 ms | first ms | CPU ms |",
        "|---|---|---|---|---|",
    ]
    for path in _paths():
        spent_ms, cpu_ms = _views(client, path, views)
        later = sorted(spent_ms[1:])
        p95 = later[int(0.95 * len(later))]
        lines.append(
            f"| `{path}` | {statistics.median(later):.0f} | {p95:.0f} | {spent_ms[0]:.0f} "
            f"| {cpu_ms:.0f} |"
        )
    return "\n".join([_size(), "", *lines])


def _paths() -> list[str]:
    from marketplace.accounts.models import Organisation
    from marketplace.usage.models import ModelFigures, UsageRollup

    busiest = Organisation.objects.get(slug="generated-0")
    used = UsageRollup.objects.filter(organisation_id=busiest.pk, span="day").values("model")
    model = (
        ModelFigures.objects.filter(model__in=used).order_by("-calls").values_list("model")[0][0]
    )
    key = busiest.api_keys.order_by("pk").values_list("pk", flat=True)[0]
    provider = model.partition("/")[0]
    by_use = ModelFigures.objects.order_by("-calls").values_list("model", flat=True)
    compared = list(by_use[:4])
    return [
        "/",
        "/models",
        "/models?page=20",
        "/models?sort=price",
        "/models?sort=speed",
        "/models?sort=use",
        f"/models?q=model&provider={provider}",
        "/models?q=generated",
        "/models?q=modl",
        "/models?task=chat&hardware=H100&price=0.9&context=8192&measured=1",
        "/models?view=table&sort=throughput",
        f"/models/{model}",
        f"/models/{model}?tab=providers",
        f"/models/{model}?tab=performance&range=24h",
        f"/models/{model}?tab=performance&range=90d",
        f"/models/{model}?tab=versions",
        f"/models/{model}?tab=activity&range=90d",
        "/rankings",
        "/rankings?by=ttft&range=30d",
        "/compare?" + "&".join(f"m={name}" for name in compared),
        *(f"/usage?range={name}" for name in ("6h", "24h", "7d", "30d", "90d")),
        "/usage?range=90d&by=key",
        "/usage?range=90d&by=member",
        "/usage?range=90d&by=outcome",
        f"/usage?range=90d&model={model}",
        "/usage?range=90d&outcome=worker_failed",
        f"/usage?range=90d&outcome=worker_failed&model={model}&key={key}",
        f"/usage?range=90d&before={_old_call()}",
        "/api/v1/models",
        "/api/v1/models?q=model&sort=price",
        "/api/v1/rankings",
        "/api/v1/usage",
        "/api/v1/usage?outcome=worker_failed",
        "/keys",
    ]


def _old_call() -> str:
    """An id from the middle of the history: as if somebody had paged that far back."""
    from marketplace.usage.models import UsageEvent
    from marketplace.usage.partitions import id_floor, id_time

    newest = id_time(UsageEvent.objects.order_by("-request_id").values_list("pk", flat=True)[0])
    oldest = id_time(UsageEvent.objects.order_by("request_id").values_list("pk", flat=True)[0])
    return str(id_floor(oldest + (newest - oldest) / 2))


def _views(client: "Client", path: str, views: int) -> tuple[list[float], float]:
    """Milliseconds of each view, and a view's of CPU, here and in the database together."""
    from django.db import connection

    connection.ensure_connection()
    pids = os.getpid(), connection.connection.info.backend_pid
    spent_ms: list[float] = []
    before_s = sum(map(cpu_s, pids))
    for _ in range(views + 1):
        begun = time.perf_counter()
        response = client.get(path)
        spent_ms.append((time.perf_counter() - begun) * 1e3)
        if response.status_code != 200:
            raise RuntimeError(f"GET {path}: {response.status_code}")
    return spent_ms, (sum(map(cpu_s, pids)) - before_s) * 1e3 / (views + 1)


def _size() -> str:
    from django.db import connection

    counts = []
    with connection.cursor() as cursor:
        for table, what in (
            ("usage_event", "calls"),
            ("usage_rollup", "rollups"),
            ("usage_caller_rollup", "rollups of callers"),
            ("catalog_aimodel", "models"),
            ("catalog_provider", "providers"),
        ):
            cursor.execute(f"SELECT count(*) FROM {table}")
            counts.append(f"{cursor.fetchone()[0]:,} {what}")
    return f"With {', '.join(counts)}:"


if __name__ == "__main__":
    sys.exit(main())
