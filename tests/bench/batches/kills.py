"""A batch of calls whose processes are killed: each line is answered once and charged once."""

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from waypost import Batch, Client

from tests.bench.batches.rows import MODEL
from tests.bench.batches.site import Site

SERVICES = ("jobs-work", "jobs-control", "router", "valkey", "postgres")
BETWEEN_S = 3.0
"""What a process does before it is killed."""
WELL_S = 120.0
"""How long a killed service may be away."""
SETTLED_S = 60.0
FEATURES = [84.2, 14, 3, 60, 2, 0.1, 1, 900]


def run(site: Site, count: int, times: int, services: Sequence[str]) -> tuple[str, bool]:
    """Kill, and count; returns the result and whether all is as promised."""
    key = site.key()
    killer = Killer(site, times, services)
    with (
        tempfile.TemporaryDirectory() as folder,
        Client(api_key=key.key, base_url=site.router_url) as client,
    ):
        path, output = Path(folder, "calls.jsonl"), Path(folder, "output.jsonl")
        path.write_bytes(b"".join(_line(number) for number in range(count)))
        for batch in client.batches.follow(client.batches.start(path).id):
            killer.see(batch)
        killer.end()
        if batch.output_file_id:
            client.files.download(batch.output_file_id, output)
            answered = Counter(json.loads(line)["custom_id"] for line in output.open())
        else:
            answered = Counter()
    charged = _settled(site, key, count)
    once = sum(1 for number in range(count) if answered[f"line-{number}"] == 1)
    is_well = once == count == charged == answered.total() and killer.killed.total() == times
    killed = ", ".join(f"{name} {n} times" for name, n in killer.killed.items()) or "nothing"
    lines = [
        f"A batch of {count:,} calls; killed: {killed}.",
        "",
        "| lines | answered once | answers | charged calls | status |",
        "|---|---|---|---|---|",
        f"| {count:,} | {once:,} | {answered.total():,} | {charged:,} | {batch.status} |",
    ]
    return "\n".join(lines), is_well


class Killer:
    """Kills the next service each time that the batch went on since the last kill."""

    def __init__(self, site: Site, times: int, services: Sequence[str]) -> None:
        self._site, self._times, self._services = site, times, services
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self._done = 0
        self.killed: Counter[str] = Counter()

    def see(self, batch: Batch) -> None:
        """How far the batch is; the killing begins with its first answers."""
        self._done = batch.completed
        print(
            f"bench: {batch.status}, {self._done:,} lines, killed {self.killed.total()}",
            flush=True,
        )
        if self._done and not self._thread.is_alive() and not self.killed:
            self._thread.start()

    def end(self) -> None:
        """The batch is over."""
        self._over.set()
        if self._thread.ident:
            self._thread.join()

    def _kill(self) -> None:
        for number in range(self._times):
            service = self._services[number % len(self._services)]
            before = self._done
            until_s = time.monotonic() + WELL_S
            while not self._over.is_set() and time.monotonic() < until_s:
                process = self._site.process(service)
                if process is not None and (self._done > before or not number):
                    os.kill(process, signal.SIGKILL)
                    self.killed[service] += 1
                    break
                self._over.wait(0.2)
            if self._over.wait(BETWEEN_S):
                return


def _line(number: int) -> bytes:
    tensor = {"name": "FEATURES", "datatype": "FP32", "shape": [1, 8], "data": FEATURES}
    line = {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": f"/v2/models/{MODEL}/infer",
        "body": {"inputs": [tensor]},
    }
    return json.dumps(line).encode() + b"\n"


def _settled(site: Site, key: Any, count: int) -> int:
    """How many calls were charged, once they are all settled or for a while after."""
    until_s = time.monotonic() + SETTLED_S
    while site.charged(key) < count and time.monotonic() < until_s:
        time.sleep(1.0)
    time.sleep(5.0)  # More would be as wrong as fewer.
    return site.charged(key)
