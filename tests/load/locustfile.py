"""A day's load by Locust: ``make rehearse``, or ``locust -f tests/load/locustfile.py``.

Calls go through the public API with an API key (``WAYPOST_KEY``). The users are Locust's
``FastHttpUser``: its client takes a fraction of the CPU that httpx or requests takes a call, and on
a machine that router and load share, what the client takes is missing elsewhere. It also lets the
first byte of a stream be timed.
"""

import json
import logging
import os
import sys
import time
from random import Random
from typing import IO
from urllib.request import Request, urlopen

from locust import LoadTestShape, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment

from tests.load import calls, slo
from tests.load.day import Day

THINK_MS_MEAN = 1_000.0
CALL_TIMEOUT_S = 60.0
KEY = "WAYPOST_KEY"

_log = logging.getLogger("rehearsal")


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    """What a rehearsal is made of; all of it can be set on the web page too."""
    parser.add_argument("--minutes", type=float, default=10.0, help="that the day takes")
    parser.add_argument("--peak-users", type=int, default=20, help="people at the morning's peak")
    parser.add_argument("--mix", default=calls.DEFAULT_MIX, help="kinds of calls, by weight")
    parser.add_argument("--models", default="", help="only these models, by commas")
    parser.add_argument("--slos", default="", help="milliseconds, as embeddings=300")
    parser.add_argument("--attain", type=float, default=0.99, help="share that has to meet each")
    parser.add_argument("--think-ms", type=float, default=THINK_MS_MEAN, help="between two calls")
    parser.add_argument("--calls-file", default="", help="gets a JSON object for each call")
    parser.add_argument("--day-seed", type=int, default=1, help="of the bursts and the calls")


class Rehearsal:
    """The options and counts of a run; one per process, as in Locust."""

    def __init__(self) -> None:
        self.attained: dict[tuple[str, str], slo.Attainment] = slo.fresh()
        self.day = Day(1.0, 1)
        self.mix: dict[str, float] = {}
        self.models: dict[str, list[str]] = {}
        self.rng = Random(1)
        self.log: IO[str] | None = None

    def begin(self, environment: Environment) -> None:
        """Take the options in and ask what is on offer. Raises ``ValueError``, ``OSError``."""
        asked = environment.parsed_options
        if asked.calls_file:
            # By lines: whoever reads it meanwhile sees whole ones.
            self.log = open(asked.calls_file, "w", buffering=1)  # noqa: SIM115
        self.attained = slo.fresh(slo.parse_slos(asked.slos))
        self.day = Day(asked.minutes, asked.peak_users, asked.day_seed)
        self.rng = Random(f"calls-{asked.day_seed}")
        wanted = calls.parse_mix(asked.mix)
        only = set(filter(None, asked.models.split(",")))
        offered = [item for item in _offered(environment.host) if not only or item["id"] in only]
        self.models = {k: m for k, m in calls.models_for(wanted, offered).items() if m}
        for kind in wanted.keys() - self.models.keys():
            _log.warning("no model for %s is on offer: left out", kind)
        self.mix = {kind: wanted[kind] for kind in self.models if wanted[kind]}
        if not self.mix:
            raise ValueError(f"nothing of the mix {asked.mix!r} is on offer at {environment.host}")

    def next_call(self) -> calls.Call:
        """Drawn by the mix."""
        (kind,) = self.rng.choices(list(self.mix), weights=list(self.mix.values()))
        return calls.make(kind, self.rng.choice(self.models[kind]), self.rng)


REHEARSAL = Rehearsal()


class Person(FastHttpUser):
    """Somebody who calls, thinks for a while, and calls again."""

    connection_timeout = network_timeout = CALL_TIMEOUT_S

    def wait_time(self) -> float:
        """Exponential: many people together then make a Poisson stream."""
        return REHEARSAL.rng.expovariate(1e3 / self.environment.parsed_options.think_ms)

    @task
    def call(self) -> None:
        """One call to its last byte."""
        one = REHEARSAL.next_call()
        headers = {**one.headers, "authorization": f"Bearer {os.environ.get(KEY, '')}"}
        at_s, begun_s = time.time(), time.perf_counter()
        with self.client.post(
            one.path,
            data=one.body,
            headers=headers,
            name=one.kind,
            stream=True,
            catch_response=True,
        ) as response:
            read = first_ms = 0.0
            if response.status_code == 200:
                read = len(response.stream.read(1))
                first_ms = (time.perf_counter() - begun_s) * 1e3
            body = response.stream.read() if response.status_code else b""
            total_ms = (time.perf_counter() - begun_s) * 1e3
            failed = response.status_code != 200 or not read
            if one.kind == "streamed" and not failed:
                failed = not body.rstrip().endswith(b"[DONE]")
            response.request_meta["response_time"] = total_ms
            response.request_meta["response_length"] = int(read) + len(body)
            if failed:
                response.failure(f"{response.status_code}: {body[:200]!r}")
            request_id = (response.headers or {}).get("x-request-id", "")
        if REHEARSAL.log is not None:
            line = {
                "at_s": at_s,
                "kind": one.kind,
                "status": response.status_code,
                "ok": not failed,
                "first_ms": first_ms,
                "total_ms": total_ms,
                "request_id": request_id,
            }
            REHEARSAL.log.write(json.dumps(line) + "\n")
        self._count(one.kind, "total", total_ms, failed=failed)
        if one.kind == "streamed":
            self._count(one.kind, slo.FIRST_BYTE, first_ms, failed=failed)
            if not failed:
                self.environment.events.request.fire(
                    request_type="FIRST BYTE",
                    name=one.kind,
                    response_time=first_ms,
                    response_length=0,
                    exception=None,
                    context={},
                )

    def _count(self, kind: str, timed: str, latency_ms: float, *, failed: bool) -> None:
        REHEARSAL.attained[kind, timed].add(latency_ms, failed=failed)


class DayShape(LoadTestShape):
    """The day's number of users, once a second."""

    def tick(self) -> tuple[int, float] | None:
        """Users and how many of them come or go a second; None at midnight."""
        users = REHEARSAL.day.at(self.get_run_time())
        return None if users is None else (users, max(1.0, float(users)))


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    """Stop at once when there is nothing to rehearse."""
    try:
        REHEARSAL.begin(environment)
    except (ValueError, OSError) as error:
        _log.error("%s", error)
        environment.process_exit_code = 2
        REHEARSAL.day = Day(1e-9, 1)


@events.test_stop.add_listener
def end(environment: Environment, **_: object) -> None:
    """Say what was met; a missed objective makes the exit code."""
    if environment.process_exit_code == 2:
        return
    least = environment.parsed_options.attain
    table, met = slo.report(REHEARSAL.attained, least)
    said = "met" if met else "MISSED"
    sys.stdout.write(f"\n{table}\n{said}: {least:.2%} of the calls of each objective\n")
    environment.process_exit_code = 0 if met else slo.MISSED_EXIT_CODE


def _offered(host: str | None) -> list[dict]:
    if not host:
        raise ValueError("--host says where the router is, as in http://127.0.0.1:8080")
    headers = {"authorization": f"Bearer {os.environ.get(KEY, '')}"}
    try:
        with urlopen(Request(f"{host}/v1/models", headers=headers), timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError as error:
        raise OSError(f"{host}/v1/models: {error}; {KEY} holds the API key") from error
