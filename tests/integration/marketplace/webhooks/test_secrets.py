"""The secrets that sign deliveries, and their rotation."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from marketplace.webhooks import services
from marketplace.webhooks.delivering import deliver
from marketplace.webhooks.models import WebhookSecret
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.deliveries import is_signed_by, secret_of, sent
from tests.integration.marketplace.webhooks.receiver import Receiver


def test_during_a_rotation_both_secrets_sign(shop: Shop, receiver: Receiver) -> None:
    old = secret_of(shop.organisation)
    new = secret_of(shop.organisation, timedelta(hours=1))
    sent(shop, receiver.url, "evt_1")
    deliver()
    assert is_signed_by(old, receiver)
    assert is_signed_by(new, receiver)
    WebhookSecret.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    sent(shop, receiver.url, "evt_2")
    deliver()
    assert not is_signed_by(old, receiver)
    assert is_signed_by(new, receiver)


def test_a_second_rotation_ends_the_first_overlap(shop: Shop, receiver: Receiver) -> None:
    first, second, third = (secret_of(shop.organisation, timedelta(hours=1)) for _ in range(3))
    sent(shop, receiver.url)
    deliver()
    signing = [is_signed_by(secret, receiver) for secret in (first, second, third)]
    assert signing == [False, True, True]


def test_a_rotation_without_overlap_ends_the_old_one_at_once(
    shop: Shop, receiver: Receiver
) -> None:
    old, new = secret_of(shop.organisation), secret_of(shop.organisation)
    sent(shop, receiver.url)
    deliver()
    assert [is_signed_by(secret, receiver) for secret in (old, new)] == [False, True]


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=30, seconds=1)])
def test_an_overlap_has_bounds(shop: Shop, overlap: timedelta) -> None:
    with pytest.raises(ValidationError, match="0 to 720"):
        secret_of(shop.organisation, overlap)


def test_a_secret_is_not_in_the_database(shop: Shop) -> None:
    secret = secret_of(shop.organisation)
    row = WebhookSecret.objects.get()
    assert secret.removeprefix("whsec_") not in row.sealed
    assert row.masked == f"whsec_…{secret.rstrip('=')[-4:]}"


def test_without_a_readable_secret_a_new_one_signs(
    shop: Shop, receiver: Receiver, settings: Any
) -> None:
    secret_of(shop.organisation)
    settings.WAYPOST_SECRETS_KEYS = [b"another"]
    sent(shop, receiver.url)
    deliver()
    secret = services.secrets_signing(shop.organisation.pk, timezone.now())
    assert is_signed_by(secret[0], receiver)
    assert WebhookSecret.objects.count() == 1
