"""With and without mail; nobody has tried to sign in yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache

if TYPE_CHECKING:
    from marketplace.accounts.models import User


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
    from marketplace.accounts.models import User
    from tests.integration.marketplace.accounts.visiting import PASSWORD

    return User.objects.create_user("ana@example.com", PASSWORD)
