"""Who tunes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from marketplace.accounts.models import User
    from tests.integration.marketplace.shop import Shop


@pytest.fixture
def admin(shop: Shop) -> User:
    from marketplace.accounts.models import User

    return User.objects.create_user("staff@example.com", is_staff=True)
