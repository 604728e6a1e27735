"""With and without mail; nobody has tried to sign in yet."""

from typing import Any

import pytest
from django.core.cache import cache

from marketplace.accounts.models import User
from tests.integration.marketplace.accounts.visiting import PASSWORD
from tests.integration.marketplace.shop import Shop


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def _no_attempts() -> None:
    cache.clear()


@pytest.fixture
def with_mail(settings: Any) -> None:
    settings.MAIL_ON = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.DEFAULT_FROM_EMAIL = "no-reply@example.com"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_PREVENT_ENUMERATION = True


@pytest.fixture
def without_mail(settings: Any) -> None:
    settings.EMAIL_BACKEND = "marketplace.accounts.sign_in.mail.NoMail"


@pytest.fixture
def person() -> User:
    return User.objects.create_user("ana@example.com", PASSWORD)
