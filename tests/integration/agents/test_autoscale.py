"""``manage.py autoscale`` beside a real router, with real agents that run emulated workers."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agents.conftest import POOL, Market
from tests.integration.router.routers import ADMIN_TOKEN
from tests.local_stack import ROOT
from tests.ports import free_ports

AGENT = (
    "--engine triton --task tensors --slots 2 --path /emulated-h100-0"
    f" --command '{sys.executable} -m workers.backends.emulator --port {{port}}'"
)


@contextlib.contextmanager
def autoscaling(market: Market, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Fewer workers are enough at once."""
    words = ["autoscale", "--pool", POOL, "--agent", AGENT, "--interval", "0.5"]
    words += ["--down-after", "0", "--first-port", str(free_ports(1)[0])]
    with (home / "autoscale.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *words],
            env={
                **os.environ,
                "DATABASE_URL": market.database_url,
                "WAYPOST_PUBLIC_URL": market.web_url,
                "WAYPOST_HOME": str(home),
                "ROUTER_ADMIN_TOKEN": ADMIN_TOKEN,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(120) == 0, (home / "autoscale.log").read_text()


@pytest.mark.nightly
def test_a_pool_has_the_workers_that_it_should_have_and_lets_go_of_the_others(
    market: Market, tmp_path: Path
) -> None:
    from marketplace.agents.models import AgentWorker
    from marketplace.catalog.models import Pool

    def has(count: int) -> bool:
        return count == sum(name.startswith(f"{POOL}-scaled-") for name in market.routed())

    with autoscaling(market, tmp_path):
        # Nobody calls: what there must be is what there should be.
        for least in (1, 2, 0, 1):
            Pool.objects.filter(name=POOL).update(workers_min=least)
            market.probed_until(functools.partial(has, least))
    assert has(0)
    mine = AgentWorker.objects.filter(agent__name__startswith=f"{POOL}-scaled-")
    assert set(mine.values_list("state", flat=True)) == {"gone"}
