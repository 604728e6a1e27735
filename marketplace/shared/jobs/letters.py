"""Dead letters on their way: messages that cannot be read, or whose process died again and again.

A worker puts one into the queue `dead` of its broker, whichever that is, before it lets the message
go. A task takes them from there and keeps them.
"""

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from kombu import Connection, Producer

from marketplace.shared.jobs.brokers import dead_queue

BODY_BYTES_MAX = 64 * 1024
"""A larger body is not kept; no task of ours has one."""
REDELIVERIES_MAX = 3
"""A message that is delivered again more often than this is dead."""
REDELIVERIES = "x-redeliveries"
"""The header that counts it."""
DETAIL_MAX = 500


class Reason(models.TextChoices):
    """Why a message is dead."""

    KILLED = "killed", _("Its process died each time")
    UNREADABLE = "unreadable", _("Cannot be read")
    UNKNOWN = "unknown", _("No such task")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it was in its queue, and why it is dead. Without a body that is too large."""

    reason: Reason
    detail: str
    task: str
    queue: str
    body: bytes | None
    content_type: str
    content_encoding: str
    headers: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


def letter_of(message: Any, reason: Reason, detail: str) -> Letter:
    """The letter that a message of kombu becomes."""
    headers, whole = _kept_headers(message.headers)
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    return Letter(
        reason=reason,
        detail=detail[:DETAIL_MAX],
        task=str(headers.get("task", ""))[:200],
        queue=str(message.delivery_info.get("routing_key") or ""),
        body=body if whole and len(body) <= BODY_BYTES_MAX else None,
        content_type=str(message.content_type or ""),
        content_encoding=str(message.content_encoding or ""),
        headers=headers,
    )


def _kept_headers(headers: Any) -> tuple[dict[str, Any], bool]:
    """The headers, and whether they can be kept; none if not."""
    try:
        is_kept = isinstance(headers, dict) and len(json.dumps(headers)) <= BODY_BYTES_MAX
    except (TypeError, ValueError):
        is_kept = False
    return (headers, True) if is_kept else ({}, False)


def letter_send(producer: Producer, letter: Letter) -> None:
    """Put a letter into the queue of the dead. Raises what the broker's client raises."""
    body = None if letter.body is None else b64encode(letter.body).decode()
    wire = {name: getattr(letter, name) for name in Letter.__slots__} | {"body": body}
    queue = dead_queue()
    producer.publish(
        wire, serializer="json", exchange=queue.exchange, routing_key=queue.name, declare=[queue]
    )


def letters_received(connection: Connection, at_most: int) -> Iterator[Letter]:
    """The letters that wait. Each is let go once the next is asked for: keep it before."""
    with connection.SimpleQueue(dead_queue()) as waiting:
        for _number in range(at_most):
            try:
                message = waiting.get(block=False)
            except Empty:
                return
            wire = message.payload
            body = None if wire["body"] is None else b64decode(wire["body"])
            yield Letter(**wire | {"body": body, "reason": Reason(wire["reason"])})
            message.ack()


def letter_return(producer: Producer, letter: Letter) -> None:
    """Send the message to its queue again, as if it had never died."""
    if letter.body is None:
        raise ValueError("its body was too large to be kept")
    headers = {name: value for name, value in letter.headers.items() if name != REDELIVERIES}
    producer.publish(
        letter.body,
        exchange=letter.queue,
        routing_key=letter.queue,
        content_type=letter.content_type or "application/data",
        content_encoding=letter.content_encoding or "binary",
        headers=headers,
    )
