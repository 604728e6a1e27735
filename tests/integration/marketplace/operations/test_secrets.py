"""What the database keeps of secrets is sealed, and a rotation leaves nothing under the old key."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.management import CommandError, call_command
from django.utils import timezone

from marketplace.audit.models import AuditEntry
from marketplace.operations.doctor import data_services
from marketplace.operations.doctor.findings import Verdict
from marketplace.webhooks.models import WebhookSecret
from marketplace.webhooks.services import secret_rotate, secrets_signing
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

OLD, NEW = b"an old key of secrets" * 2, b"a new key of secrets" * 2


@pytest.fixture
def keys(settings: Any) -> Any:
    """The settings, with the old key alone."""
    settings.WAYPOST_SECRETS_KEYS = [OLD]
    return settings


def seed_sealed(shop: Shop) -> tuple[str, str]:
    """An authenticator app of the owner: its seed, and what the database has of it."""
    seed = generate_totp_secret()
    TOTP.activate(shop.owner, seed)
    stored = Authenticator.objects.get(user=shop.owner, type="totp").data
    return seed, json.dumps(stored)


def seed_opened(shop: Shop) -> str:
    """As allauth reads it to check a code."""
    from allauth.mfa.utils import decrypt

    return str(decrypt(Authenticator.objects.get(user=shop.owner, type="totp").data["secret"]))


def said(*words: str) -> str:
    out = StringIO()
    call_command("secrets", *words, stdout=out)
    return out.getvalue()


def test_seeds_of_second_factors_are_not_in_the_database(shop: Shop) -> None:
    seed, stored = seed_sealed(shop)
    assert seed not in stored
    assert seed_opened(shop) == seed
    codes = RecoveryCodes.activate(shop.owner)
    assert len(codes.generate_codes()) == 10
    assert ":" in codes.instance.data["seed"]


def test_a_rotation_reaches_every_secret_and_changes_none(shop: Shop, keys: Any) -> None:
    seed, _ = seed_sealed(shop)
    codes = RecoveryCodes.activate(shop.owner).generate_codes()
    _, secret = secret_rotate(organisation=shop.organisation, overlap=timedelta())
    entries = AuditEntry.objects.count()
    keys.WAYPOST_SECRETS_KEYS = [NEW, OLD]
    assert said("rotate") == (
        "webhook secrets: 1, of which 1 were under an older key\n"
        "second factors: 2, of which 2 were under an older key\n"
        "endpoint keys: 0, of which 0 were under an older key\n"
    )
    assert "second factors: 2, of which 0 are under an older key" in said("status")
    keys.WAYPOST_SECRETS_KEYS = [NEW]
    assert seed_opened(shop) == seed
    assert RecoveryCodes.activate(shop.owner).generate_codes() == codes
    assert secrets_signing(shop.organisation.pk, timezone.now()) == (secret,)
    assert AuditEntry.objects.count() == entries


def test_a_seed_that_was_stored_in_the_clear_works_and_is_sealed(shop: Shop) -> None:
    seed = generate_totp_secret()
    Authenticator.objects.create(user=shop.owner, type="totp", data={"secret": seed})
    assert seed_opened(shop) == seed
    assert "1 were under an older key" in said("rotate")
    assert seed not in json.dumps(Authenticator.objects.get().data)
    assert seed_opened(shop) == seed


def test_a_key_that_is_left_out_too_soon_is_named_and_nothing_is_lost(
    shop: Shop, keys: Any
) -> None:
    secret_rotate(organisation=shop.organisation, overlap=timedelta())
    before = WebhookSecret.objects.get().sealed
    keys.WAYPOST_SECRETS_KEYS = [NEW]
    with pytest.raises(CommandError, match="1 of the webhook secrets cannot be read"):
        said("rotate")
    assert WebhookSecret.objects.get().sealed == before


def test_the_doctor_says_which_step_is_missing(shop: Shop, keys: Any) -> None:
    seed_sealed(shop)
    steps = {
        (): "WAYPOST_SECRETS_KEYS is not set",
        (NEW, OLD): "1 of 1 sealed secrets are under an older key",
        (NEW,): "1 of 1 sealed secrets cannot be read",
    }
    for given, text in steps.items():
        keys.WAYPOST_SECRETS_KEYS = list(given)
        (found,) = data_services.secrets()
        assert found.verdict is Verdict.BAD
        assert text in found.text
    keys.WAYPOST_SECRETS_KEYS = [OLD]
    (found,) = data_services.secrets()
    assert found.verdict is Verdict.GOOD
