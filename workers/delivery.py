"""How job processes take messages: late acknowledgement, and an end for what cannot be worked on.

Celery drops a message that it cannot read, and starts one whose process dies again for ever. Here
both end as dead letters, on RabbitMQ and on Valkey alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.worker.consumer import Consumer
from kombu import Connection, Producer
from kombu.exceptions import KombuError, OperationalError

from marketplace.shared.jobs.brokers import (
    options_to_send,
    options_to_work,
    priority_of,
    queues,
)
from marketplace.shared.jobs.letters import (
    REDELIVERIES,
    REDELIVERIES_MAX,
    Reason,
    letter_of,
    letter_send,
)
from marketplace.shared.jobs.periodic import Priority, Queue

UNREADABLE = (KombuError, LookupError, ValueError)
SEND_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


def delivery_conf(broker_url: str, longest_s: float) -> dict[str, Any]:
    """Celery's settings for a broker whose longest task takes ``longest_s``."""
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": options_to_work(broker_url, longest_s),
        "task_ignore_result": True,
        # A task is done when it has finished, not when it was handed out.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_consumer": f"{JobConsumer.__module__}:{JobConsumer.__name__}",
        "task_queues": queues(),
        "task_default_queue": Queue.WORK,
        "task_default_priority": priority_of(Priority.NORMAL, broker_url),
    }


class JobConsumer(Consumer):
    """Counts how often a message is delivered again, and buries what is beyond help."""

    app: Celery

    def update_strategies(self) -> None:
        """Judge each message before Celery starts its task."""
        super().update_strategies()
        for name, start in list(self.strategies.items()):
            self.strategies[name] = self._judged(start)

    def _judged(self, start: Callable[..., None]) -> Callable[..., None]:
        def judge(message: Any, *rest: Any) -> None:
            try:
                # Celery leaves it to the child, where the message would be lost.
                message.decode()
            except UNREADABLE as error:
                self.on_decode_error(message, error)
                return
            if not message.delivery_info.get("redelivered") or not self._sent_again(message):
                start(message, *rest)

        return judge

    def _sent_again(self, message: Any) -> bool:
        """Replace a message that was delivered before by one that says how often, or bury it.

        The copy waits behind the others: what kills its process keeps nothing else waiting.
        """
        count = int(message.headers.get(REDELIVERIES, 0)) + 1
        if count > REDELIVERIES_MAX:
            self._bury(message, Reason.KILLED, f"delivered {count} times and never done")
            return True
        if not self._publish(lambda producer: _copy_send(producer, message, count)):
            return False
        message.ack()
        return True

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Bury what names no task."""
        self._bury(message, Reason.UNREADABLE, "it names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury what names a task that is not there (any more, or yet)."""
        self._bury(message, Reason.UNKNOWN, f"no task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury what Celery's protocol does not allow."""
        self._bury(message, Reason.UNREADABLE, str(exc))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury a body that its content type does not describe."""
        self._bury(message, Reason.UNREADABLE, f"{type(exc).__name__}: {exc}")

    def _bury(self, message: Any, reason: Reason, detail: str) -> None:
        """Let the message go once its letter is with the broker; else it comes again."""
        letter = letter_of(message, reason, detail)
        log.error("a dead letter, %s: %s %s", reason, letter.task or "(no task)", detail)
        if self._publish(lambda producer: letter_send(producer, letter)):
            message.ack()
        else:
            message.requeue()

    def _publish(self, publish: Callable[[Producer], None]) -> bool:
        """Whether the broker has taken it, over a connection that no child inherits."""
        url = self.app.conf.broker_url
        options = options_to_send(url, SEND_TIMEOUT_S)
        errors = (OperationalError, *self.connection_errors, *self.connection.channel_errors)
        try:
            with (
                Connection(
                    url, connect_timeout=SEND_TIMEOUT_S, transport_options=options
                ) as connection,
                connection.Producer() as producer,
            ):
                publish(producer)
        except errors as error:
            log.warning("the broker did not take a message: %s", error)
            return False
        return True


def _copy_send(producer: Producer, message: Any, count: int) -> None:
    queue = message.delivery_info["routing_key"]
    producer.publish(
        message.body,
        exchange=queue,
        routing_key=queue,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers={**message.headers, REDELIVERIES: count},
        priority=message.properties.get("priority"),
        correlation_id=message.properties.get("correlation_id"),
    )
