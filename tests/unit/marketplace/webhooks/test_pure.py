"""Delays, statuses and signatures: what needs no database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from marketplace.webhooks.models import Outcome
from marketplace.webhooks.schedule import DELAYS, due_after, outcome_of
from marketplace.webhooks.sending import Message, headers_of

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_it_is_tried_for_about_three_days_ever_less_often() -> None:
    assert timedelta(days=2.5) < sum(DELAYS, timedelta()) < timedelta(days=3.5)
    assert list(DELAYS) == sorted(set(DELAYS))


def test_after_each_failure_it_waits_longer_and_after_the_last_no_more() -> None:
    waits = [due_after(tries, NOW) for tries in range(1, len(DELAYS) + 2)]
    assert waits == [*(NOW + delay for delay in DELAYS), None]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.HEARD),
        (204, Outcome.HEARD),
        (302, Outcome.REDIRECT),
        (308, Outcome.REDIRECT),
        (400, Outcome.STATUS),
        (404, Outcome.STATUS),
        (410, Outcome.GONE),
        (503, Outcome.STATUS),
    ],
)
def test_only_success_is_heard(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) == outcome


@given(body=st.text(), event_id=st.from_regex(r"[A-Za-z0-9_:-]{1,40}", fullmatch=True))
def test_each_secret_signs_as_the_standard_says(body: str, event_id: str) -> None:
    now = datetime.now(UTC)
    secrets = ("whsec_" + "bmV3" * 8, "whsec_" + "b2xk" * 8)
    message = Message(1, 1, 1, "https://x.example", event_id, body, secrets)
    headers = headers_of(message, now)
    for secret in secrets:
        Webhook(secret).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "b3Ro" * 8).verify(body, headers, json_parse=False)
