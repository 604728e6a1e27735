"""``manage.py autoscale`` with a real router, and real agents that run emulated workers."""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.agents.conftest import MODEL, POOL, QUESTION, UPSTREAM, Market
from tests.integration.router.routers import ADMIN_TOKEN
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S
from tests.ports import free_ports

EMULATOR = f" --command '{sys.executable} -m workers.backends.emulator --port {{port}}'"
TENSORS = "--engine triton --task tensors --slots 2 --path /emulated-h100-0" + EMULATOR
EMULATED = "emulated/gpt-j-6b"
CHAT = f"--engine llama_cpp --served-name {EMULATED} --path /emulated-h100-0" + EMULATOR


@contextlib.contextmanager
def autoscaling(market: Market, home: Path, agent: str) -> Iterator[subprocess.Popen[bytes]]:
    """Fewer workers are enough at once."""
    words = ["autoscale", "--pool", POOL, "--agent", agent, "--interval", "0.5"]
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
        assert process.wait(PATIENCE_S) == 0, (home / "autoscale.log").read_text()


@pytest.fixture
def emulated_chat(market: Market) -> Iterator[None]:
    """The model's workers are emulated ones."""
    from marketplace.catalog.models import Deployment, Pool
    from marketplace.catalog.services import pool_put

    mine = Deployment.objects.filter(pool__name=POOL)
    mine.update(upstream_model=EMULATED)
    yield
    mine.update(upstream_model=UPSTREAM)
    pool_put(pool=Pool.objects.get(name=POOL), workers_min=1, start_s=0)


@pytest.mark.nightly
def test_a_pool_has_the_workers_that_it_should_have_and_lets_go_of_the_others(
    market: Market, tmp_path: Path
) -> None:
    from marketplace.agents.models import AgentWorker
    from marketplace.catalog.models import Pool

    def has(count: int) -> bool:
        return count == sum(name.startswith(f"{POOL}-scaled-") for name in market.routed())

    with autoscaling(market, tmp_path, TENSORS):
        # Nobody calls: what there must be is what there should be.
        for least in (1, 2, 0, 1):
            Pool.objects.filter(name=POOL).update(workers_min=least)
            market.probed_until(functools.partial(has, least))
    assert has(0)
    mine = AgentWorker.objects.filter(agent__name__startswith=f"{POOL}-scaled-")
    assert set(mine.values_list("state", flat=True)) == {"gone"}


@pytest.mark.nightly
def test_the_first_call_to_a_pool_scaled_to_zero_is_held_until_its_worker_answers(
    market: Market, emulated_chat: None, tmp_path: Path
) -> None:
    from marketplace.catalog.models import Pool
    from marketplace.catalog.services import pool_put

    pool_put(pool=Pool.objects.get(name=POOL), workers_min=0, start_s=30)
    with (
        autoscaling(market, tmp_path, CHAT),
        ThreadPoolExecutor(1) as callers,
    ):
        assert market.routed() == set()
        lines = callers.submit(_streamed, market)
        market.probed_until(lines.done)
        held, answered = lines.result()
    assert held[0].startswith(": queued place=1 eta_ms=")
    assert 0 < int(held[0].rpartition("=")[2]) <= 30_000
    assert answered[-1] == "data: [DONE]"


def _streamed(market: Market) -> tuple[list[str], list[str]]:
    """The comments and the events of a streamed call that asks for its progress."""
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 4, "stream": True}
    headers = {"Authorization": f"Bearer {market.key}", "X-Route-Progress": "1"}
    url = f"{market.router.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=120) as response:
        lines = [line for line in response.iter_lines() if line]
    return (
        [line for line in lines if line.startswith(":")],
        [line for line in lines if not line.startswith(":")],
    )
