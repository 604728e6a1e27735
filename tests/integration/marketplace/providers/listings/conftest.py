"""Somebody of another organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from marketplace.accounts.models import User


@pytest.fixture
def stranger(db: None) -> User:
    from marketplace.accounts.models import User
    from marketplace.accounts.services import organisation_create

    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return user
