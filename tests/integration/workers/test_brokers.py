"""What the job processes promise of messages, on Valkey and on RabbitMQ alike."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from celery import Celery
from kombu import Connection, Producer
from kombu import Queue as BrokerQueue

from marketplace.shared.jobs.brokers import (
    Priority,
    options_to_send,
    options_to_work,
    priority_of,
    queues,
)
from marketplace.shared.jobs.letters import (
    BODY_BYTES_MAX,
    REDELIVERIES_MAX,
    Letter,
    Reason,
    letter_return,
    letters_received,
)
from marketplace.shared.jobs.periodic import Queue
from tests.embedded import wait_until
from tests.patience import PATIENCE_S


@dataclass(frozen=True)
class Broker:
    """A broker with a worker of one process, and what that worker says that it did."""

    client: Celery
    told: Path

    def send(
        self,
        task: str,
        *args: object,
        priority: Priority = Priority.NORMAL,
        queue: Queue = Queue.WORK,
    ) -> None:
        number = priority_of(priority, self.client.conf.broker_url)
        self.client.send_task(task, args, queue=queue, priority=number, ignore_result=True)

    def publish(self, body: bytes, headers: dict[str, Any], content_type: str) -> None:
        """A message as no client of Celery makes it."""
        with self.client.connection_for_write() as connection:
            Producer(connection).publish(
                body,
                exchange=Queue.WORK,
                routing_key=Queue.WORK,
                content_type=content_type,
                content_encoding="utf-8",
                headers=headers,
            )

    def lines(self) -> list[str]:
        return self.told.read_text().splitlines()

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.lines(), PATIENCE_S, f"nobody did {line!r}")

    def letter(self) -> Letter:
        found: list[Letter] = []

        def came() -> bool:
            with self.client.connection_for_read() as connection:
                found.extend(letters_received(connection, 1))
            return bool(found)

        wait_until(came, PATIENCE_S, "no dead letter")
        return found[0]

    def has_letters(self) -> bool:
        with self.client.connection_for_read() as connection:
            return any(True for _ in letters_received(connection, 1))


@contextmanager
def working(
    client: Celery, told: Path, queue: Queue = Queue.WORK
) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "BROKER_URL": client.conf.broker_url, "TOLD": str(told)}
    words = ["-A", "tests.integration.workers.worker", "worker", "--concurrency", "1"]
    quietly = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    command = [sys.executable, "-m", "celery", *words, *quietly, "--queues", queue]
    # RabbitMQ has one worker of a name.
    command += ["--hostname", f"{uuid.uuid4()}@%h"]
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def kept(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    client = Celery("tests", broker=broker_url, set_as_current=False)
    client.conf.task_queues = queues()
    client.conf.broker_transport_options = options_to_send(broker_url, PATIENCE_S)
    received = tmp_path_factory.mktemp("broker") / "told"
    received.touch()
    with working(client, received):
        yield Broker(client, received)


@pytest.fixture
def broker(kept: Broker) -> Broker:
    kept.told.write_text("")
    return kept


# --- dead letters ---------------------------------------------------------------------------------


def test_what_kills_its_process_each_time_ends_as_a_dead_letter(broker: Broker) -> None:
    broker.send("tests.die")
    broker.send("tests.note", "not kept waiting")
    broker.wait_for("not kept waiting")
    letter = broker.letter()
    assert (letter.reason, letter.task, letter.queue) == (Reason.KILLED, "tests.die", "work")
    assert broker.lines().count("died") == REDELIVERIES_MAX + 1
    assert not broker.has_letters()


@pytest.mark.parametrize(
    ("body", "headers", "content_type", "reason"),
    [
        (b"{", {"task": "tests.note", "id": "1"}, "application/json", Reason.UNREADABLE),
        (b"x", {"task": "tests.note", "id": "1"}, "application/x-python-serialize", "unreadable"),
        (b"{}", {}, "application/json", Reason.UNREADABLE),
        (b"[[], {}, {}]", {"task": "tests.gone", "id": "1"}, "application/json", Reason.UNKNOWN),
    ],
    ids=["no JSON", "a pickle", "no task", "an unknown task"],
)
def test_what_cannot_be_read_ends_as_a_dead_letter(
    broker: Broker, body: bytes, headers: dict[str, Any], content_type: str, reason: str
) -> None:
    broker.publish(body, headers, content_type)
    letter = broker.letter()
    assert (letter.reason, letter.body, letter.queue) == (reason, body, "work")
    assert letter.task == headers.get("task", "")
    assert letter.detail
    broker.send("tests.note", "and it goes on")
    broker.wait_for("and it goes on")


def test_a_dead_letter_that_is_retried_is_worked_on(broker: Broker) -> None:
    letter = Letter(
        reason=Reason.KILLED,
        detail="",
        task="tests.note",
        queue=Queue.WORK,
        body=b'[["again"], {}, {}]',
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "tests.note", "id": "7", "lang": "py"},
    )
    with broker.client.connection_for_write() as connection:
        letter_return(Producer(connection), letter)
    broker.wait_for("again")


def test_of_a_large_message_the_letter_has_no_body(broker: Broker) -> None:
    broker.publish(b"x" * (BODY_BYTES_MAX + 1), {}, "application/json")
    letter = broker.letter()
    assert letter.body is None
    with pytest.raises(ValueError, match="too large"):
        letter_return(Producer(broker.client.connection_for_write()), letter)


# --- priorities and confirmations -----------------------------------------------------------------


# On both also in ordinary runs, which have the rest on Valkey alone.
@pytest.mark.parametrize("broker_url", ["valkey", "rabbitmq"], indirect=True)
def test_the_first_comes_first_whichever_broker_it_is(broker: Broker, tmp_path: Path) -> None:
    broker.send("tests.hold", str(tmp_path / "go"))
    broker.wait_for("held")
    for priority in (Priority.LAST, Priority.NORMAL, Priority.FIRST):
        broker.send("tests.note", priority.name, priority=priority)
    (tmp_path / "go").touch()
    broker.wait_for("LAST")
    assert broker.lines() == ["held", "FIRST", "NORMAL", "LAST"]


def test_a_message_that_rabbitmq_does_not_take_is_an_error(rabbitmq_url: str) -> None:
    """Without confirmations it would be dropped, and nobody would know."""
    full = BrokerQueue("full", queue_arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    for options in (options_to_send(rabbitmq_url, PATIENCE_S), options_to_work(rabbitmq_url, 1)):
        with Connection(rabbitmq_url, transport_options=options) as connection:
            full(connection.default_channel).declare()
            with pytest.raises(MessageNacked):
                Producer(connection).publish("x", exchange="", routing_key="full")


# --- a worker that is lost ------------------------------------------------------------------------


def test_the_task_of_a_killed_worker_is_done_by_another(broker: Broker, tmp_path: Path) -> None:
    broker.send("tests.hold", str(tmp_path / "go"), queue=Queue.CONTROL)
    with working(broker.client, broker.told, Queue.CONTROL) as lost:
        broker.wait_for("held")
        os.killpg(lost.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    with working(broker.client, broker.told, Queue.CONTROL):
        wait_until(lambda: broker.lines() == ["held"] * 2, PATIENCE_S, "nobody did it again")
    assert not broker.has_letters()
