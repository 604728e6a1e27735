"""One meaning for two brokers, and what a letter keeps of a message."""

from types import SimpleNamespace
from typing import Any

import pytest

from marketplace.shared.jobs.brokers import (
    is_rabbitmq,
    options_to_send,
    options_to_work,
    priority_of,
)
from marketplace.shared.jobs.letters import BODY_BYTES_MAX, Reason, letter_of
from marketplace.shared.jobs.periodic import Priority

RABBITMQ, VALKEY = "amqps://user:password@mq.example//", "rediss://:password@cache.example:6379/0"


def test_the_first_has_the_highest_number_of_one_and_the_lowest_of_the_other() -> None:
    numbers = {url: [priority_of(item, url) for item in Priority] for url in (RABBITMQ, VALKEY)}
    assert numbers[RABBITMQ] == sorted(numbers[RABBITMQ], reverse=True)
    assert numbers[VALKEY] == sorted(numbers[VALKEY])
    assert all(0 <= number <= 9 for item in numbers.values() for number in item)
    assert priority_of(Priority.FIRST, RABBITMQ) == 9
    assert priority_of(Priority.FIRST, VALKEY) == 0


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        (RABBITMQ, True),
        ("amqp://h", True),
        ("pyamqp://h", True),
        (VALKEY, False),
        ("memory://", False),
    ],
)
def test_a_broker_is_known_by_its_url(url: str, is_one: bool) -> None:
    assert is_rabbitmq(url) is is_one


def test_only_rabbitmq_is_asked_to_confirm() -> None:
    for options in (options_to_send, options_to_work):
        assert options(RABBITMQ, 1)["confirm_publish"] is True
        assert "confirm_publish" not in options(VALKEY, 1)


def test_a_broker_is_waited_for_for_a_bounded_time() -> None:
    assert options_to_send(RABBITMQ, 2)["read_timeout"] == 2
    assert options_to_send(VALKEY, 2)["socket_timeout"] == 2


def message(**changes: Any) -> SimpleNamespace:
    values: dict[str, Any] = {
        "headers": {"task": "a.b"},
        "body": b"{}",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_info": {"routing_key": "work"},
    }
    return SimpleNamespace(**values | changes)


def test_a_letter_is_the_whole_message() -> None:
    letter = letter_of(message(), Reason.KILLED, "x" * 9_000)
    assert (letter.task, letter.queue, letter.body) == ("a.b", "work", b"{}")
    assert len(letter.detail) == 500


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": None},
        {"headers": {"task": object()}},
        {"headers": {"x": "x" * BODY_BYTES_MAX}},
        {"body": b"x" * (BODY_BYTES_MAX + 1)},
    ],
    ids=["none", "odd", "large", "a large body"],
)
def test_what_cannot_be_kept_whole_has_no_body(changes: dict[str, Any]) -> None:
    assert letter_of(message(**changes), Reason.UNREADABLE, "").body is None
