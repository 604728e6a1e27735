"""A worker's host that is cut off under load: the short form, with a router alone."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from deploy.local.processes import child
from tests.chaos.clients import Seen, call
from tests.chaos.faults.hosts.network import SWITCH, Network, missing
from tests.chaos.faults.hosts.product import answers
from tests.chaos.harness import KEY, MODEL
from tests.chaos.processes import Program
from tests.chaos.worker import produced
from tests.embedded import wait_until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

ROUTER, WORKERS = "router", ("worker-a", "worker-b")
PORT = 8080
CALLS = 8
NOTICED_S = 12.0


async def test_6_the_calls_of_a_host_that_is_cut_off_are_answered_by_another(
    tmp_path: Path,
) -> None:
    network = Network((ROUTER, *WORKERS))
    programs: list[Program] = []

    def start(host: str, *words: str, **env: str) -> None:
        argv = network.on(host, [sys.executable, "-m", *words])
        log = tmp_path / f"{host}.log"
        programs.append(Program([*child.prefix(signal.SIGKILL), *argv], log, **env))
        programs[-1].start()

    urls = {host: f"http://{network.address(host)}:{PORT}" for host in (ROUTER, *WORKERS)}
    fleet = tmp_path / "fleet.json"
    shared = {"class": "c", "slots": CALLS // 2, "model": MODEL}
    fleet.write_text(json.dumps([{"id": w, "url": urls[w], **shared} for w in WORKERS]))
    made = tmp_path / "produced.log"
    address = network.address(ROUTER)
    try:
        network.make()
        for host in WORKERS:
            start(host, "tests.chaos.worker", str(PORT), str(made), network.address(host))
        words = ("--fleet", str(fleet), "--host", address, "--port", str(PORT), "--key", KEY)
        start(ROUTER, "router", *words)
        with network.inside(SWITCH):
            for host, path in ((ROUTER, "/readyz"), *((worker, "/health") for worker in WORKERS)):
                url = urls[host] + path
                await asyncio.to_thread(wait_until, lambda url=url: answers(url), PATIENCE_S, url)

            async def ask(name: str, deed: str = "answer") -> Seen:
                return await call(PORT, name, 2, deed, host=address, key=KEY)

            await asyncio.gather(*(ask(f"warm-{n}") for n in range(CALLS)))
            waiting = [asyncio.create_task(ask(f"has-{n}", "wait")) for n in range(CALLS)]
            async with asyncio.timeout(PATIENCE_S):
                while not all(produced(made, "asked")[f"has-{n}"] for n in range(CALLS)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            network.cut(WORKERS[1])
            cut_s = time.monotonic()
            later = [asyncio.create_task(ask(f"after-{n}")) for n in range(CALLS)]
            received = await asyncio.gather(*waiting, *later)
            took_s = time.monotonic() - cut_s
    finally:
        for program in programs:
            program.kill()
        network.remove()
    print(f"all of {len(received)} calls are answered {took_s:.1f} s after the cut")
    assert {seen.status for seen in received} == {200}
    assert took_s < NOTICED_S
