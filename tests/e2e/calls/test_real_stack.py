"""The whole product as `make run` starts it: every service real."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest

from deploy.local.home import state
from deploy.local.terminal.banner import first_call
from tests.bench.batches import kills
from tests.bench.batches.site import Site
from tests.embedded import wait_until
from tests.local_stack import LocalStack, running_stack
from tests.patience import PATIENCE_S

LINES, KILLS = 10_000, 8
"""More lines than are answered before the last kill."""


def test_the_call_that_is_printed_works_when_pasted(local_stack: LocalStack) -> None:
    line = first_call(local_stack.router_url, local_stack.demo["api_key"])
    pasted = subprocess.run(
        ["sh", "-c", line.replace("curl", "curl --silent --show-error", 1)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(pasted.stdout)
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] > 0


def test_status_shows_every_service_healthy(local_stack: LocalStack) -> None:
    status = local_stack.manage("status", "--json")
    report = json.loads(status.stdout)
    assert status.returncode == 0, status.stdout
    names = {service["name"] for service in report["services"]}
    ours = {"router", "web", "jobs-control", "jobs-work", "jobs-calls", "beat"}
    assert {"postgres", "valkey", "llama-fast", "llama-small", *ours} <= names


def test_a_key_made_beside_the_running_stack_opens_the_router(local_stack: LocalStack) -> None:
    # As `up` prints it, from a terminal that knows nothing of this folder.
    words = ("keys", "create", "--org", "demo", "--home", str(local_stack.home))
    made = local_stack.manage(*words, knows_home=False)
    assert made.returncode == 0, made.stderr
    (key,) = [word for word in made.stdout.split() if word.startswith("wp_live_")]

    def is_accepted() -> bool:
        header = f"Authorization: Bearer {key}"
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", header]
        url = f"{local_stack.router_url}/v1/models"
        done = subprocess.run([*argv, url], capture_output=True, text=True, check=False)
        return done.stdout == "200"

    wait_until(is_accepted, PATIENCE_S, "the new key was not accepted")


def test_the_services_cannot_write_the_books_and_commands_of_the_owner_can(
    local_stack: LocalStack,
) -> None:
    known = state.load(local_stack.home)
    assert known is not None
    url = known.environment["DATABASE_URL"]
    assert known.owner_url not in {"", url}
    assert "MIGRATE_DATABASE_URL" not in known.environment
    with psycopg.connect(url, autocommit=True) as services:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            services.execute("UPDATE billing_account SET posted_nano = 1")
        sessions = services.execute(
            "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE datname = 'waypost'"
            " ORDER BY 1"
        )
        assert sessions.fetchall() == [("waypost_routers",), ("waypost_services",)]
    warned = local_stack.manage("check", "--database", "default")
    assert (warned.returncode, "billing.W001" in warned.stderr) == (0, False), warned.stderr
    for words in (("migrate", "--no-input"), ("usage", "detach", "--before", "2020-01")):
        done = local_stack.manage(*words)
        assert done.returncode == 0, done.stderr
    verified = local_stack.manage("ledger", "verify")
    assert verified.returncode == 0, verified.stderr


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, float]]:
    """A second one, which others do not mind being killed, and the seconds of its first start."""
    began = time.monotonic()
    with running_stack(tmp_path_factory.mktemp("own") / "home", "--no-emulated") as stack:
        yield stack, time.monotonic() - began


@pytest.fixture
def own_stack(started: tuple[LocalStack, float]) -> LocalStack:
    return started[0]


@pytest.mark.nightly  # On a second stack, for some minutes.
def test_a_batch_is_answered_and_charged_line_by_line_whatever_is_killed(
    own_stack: LocalStack,
) -> None:
    killed = ("router", "valkey", "postgres", "jobs-work")
    result, is_well = kills.run(Site(own_stack.home), LINES, KILLS, killed)
    assert is_well, result


@pytest.mark.nightly  # A second stack, started twice.
def test_a_sigkilled_stack_leaves_nothing_and_its_data_is_there_again(
    started: tuple[LocalStack, float],
) -> None:
    own_stack, first_start_s = started
    demo = own_stack.demo
    running = state.load(own_stack.home)
    assert running is not None
    os.kill(running.launcher.pid, signal.SIGKILL)
    services = [service.process for service in running.services if service.process]
    wait_until(
        lambda: not any(service.is_alive() for service in services),
        PATIENCE_S,
        "services live on",
    )

    began = time.monotonic()
    again = own_stack.up("--no-emulated")
    assert again.returncode == 0, again.stderr
    # Its database is made, and its demo filled in.
    assert time.monotonic() - began < first_start_s
    assert own_stack.demo == demo
    assert demo["api_key"] in again.stdout
