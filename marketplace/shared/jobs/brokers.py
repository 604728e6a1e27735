"""What RabbitMQ and Valkey do differently, said once: priorities, queues, options.

RabbitMQ confirms what it was sent, and begins with the highest priority. Valkey's answer to a push
is its confirmation, and it begins with the lowest.
"""

from typing import Any
from urllib.parse import urlsplit

from kombu import Exchange
from kombu import Queue as BrokerQueue

from marketplace.shared.jobs.periodic import Priority, Queue

PRIORITY_MAX = 9
DEAD_QUEUE = "dead"
"""Messages that nobody can work on wait here for the task that keeps them."""
RESTORE_EVERY_S = 2


def is_rabbitmq(broker_url: str) -> bool:
    """Whether a broker speaks AMQP."""
    return urlsplit(broker_url).scheme in {"amqp", "amqps", "pyamqp"}


def priority_of(priority: Priority, broker_url: str) -> int:
    """The number by which this broker takes a message as early as the priority says."""
    return PRIORITY_MAX - priority if is_rabbitmq(broker_url) else int(priority)


def queues() -> list[BrokerQueue]:
    """The queues as each client declares them: RabbitMQ refuses one that is declared otherwise."""
    return [
        BrokerQueue(name, Exchange(name), routing_key=name, max_priority=PRIORITY_MAX)
        for name in Queue
    ]


def dead_queue() -> BrokerQueue:
    """The queue of dead letters."""
    return BrokerQueue(DEAD_QUEUE, Exchange(DEAD_QUEUE), routing_key=DEAD_QUEUE)


def options_to_send(broker_url: str, timeout_s: float) -> dict[str, Any]:
    """Transport options for a client that a person waits for."""
    if is_rabbitmq(broker_url):
        bounds = {"read_timeout": timeout_s, "write_timeout": timeout_s}
        return {"confirm_publish": True, "max_retries": 0, **bounds}
    bounds = {"socket_connect_timeout": timeout_s, "socket_timeout": timeout_s}
    return {"max_retries": 0, **bounds}


def options_to_work(broker_url: str, longest_s: float) -> dict[str, Any]:
    """Transport options for a process whose longest task takes ``longest_s``.

    RabbitMQ gives a killed worker's task to another at once, Valkey after some 6 s (else 100 s).
    """
    if is_rabbitmq(broker_url):
        return {"confirm_publish": True}
    return {
        "visibility_timeout": 4 * longest_s,
        "unacked_restore_interval": RESTORE_EVERY_S,
        "unacked_restore_throttle": 1,
    }
