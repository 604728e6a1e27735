"""The load by Locust: closed (as many users as calls at once) or open (arrivals that are given).

Users do not think between calls, so a closed load of c users is c calls at once. The open load
sends when LoadGen sent: two draws of a Poisson stream differ in their bursts, and so in their 99th
percentiles, by more than the instruments do. How late a call was sent is kept apart.
"""

import json
import os
import time
from pathlib import Path

import gevent
from locust import constant, events, task
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment

from tests.bench.agreement.load import Asked

ASKED = Asked(**json.loads(os.environ["AGREEMENT"]))
"""What the parent wants; see :mod:`tests.bench.agreement.load`."""

SAMPLES: list[tuple[float, float, float, float]] = []
"""The fields of :class:`~benchmarks.agreement.load.Timed`."""

LEAD_S = 0.5
ASKED_FOR_S = 60.0
"""The last calls end within this, and end the run."""


class _Client(FastHttpUser):
    abstract = True
    concurrency = 1_000
    connection_timeout = network_timeout = 60.0

    def ask(self, due_s: float) -> None:
        """One streamed call to its last byte."""
        sent_s = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", data=ASKED.body, stream=True, catch_response=True
        ) as response:
            response.stream.read(1)
            first_ms = (time.perf_counter() - sent_s) * 1e3
            whole = response.stream.read()
            total_ms = (time.perf_counter() - sent_s) * 1e3
            if not whole.rstrip().endswith(b"[DONE]"):
                response.failure(f"{response.status_code}: {whole[:100]!r}")
                return
            SAMPLES.append((first_ms, total_ms, sent_s, (sent_s - due_s) * 1e3))
        if len(SAMPLES) == ASKED.warm_up + ASKED.samples:
            # Not from here: quitting stops the users, and this one would stop itself half-way.
            gevent.spawn(self.environment.runner.quit)


if ASKED.rate_hz:

    class Clock(_Client):
        """One user who sends whatever comes due."""

        fixed_count = 1
        wait_time = constant(0)

        @task
        def arrivals(self) -> None:
            """Some to warm up with, then each arrival when it is due."""
            for _ in range(ASKED.warm_up):
                self.ask(time.perf_counter())
            begun_s = time.perf_counter() + LEAD_S
            for arrival_s in ASKED.arrivals_s:
                due_s = begun_s + arrival_s
                gevent.sleep(max(0.0, due_s - time.perf_counter()))
                gevent.spawn(self.ask, due_s)
            gevent.sleep(ASKED_FOR_S)

else:

    class Caller(_Client):
        """Calls again as soon as it is answered."""

        wait_time = constant(0)

        @task
        def call(self) -> None:
            """The next one."""
            self.ask(time.perf_counter())


@events.quitting.add_listener
def keep(environment: Environment, **_: object) -> None:
    """Leave the samples for the parent; a failure is an exit code."""
    failures = environment.stats.total.num_failures
    environment.process_exit_code = 1 if failures else 0
    counted = SAMPLES[ASKED.warm_up : ASKED.warm_up + ASKED.samples]
    Path(ASKED.out).write_text(json.dumps(counted))
