"""Who tunes."""

import pytest

from marketplace.accounts.models import User
from tests.integration.marketplace.shop import Shop


@pytest.fixture
def staff(shop: Shop) -> User:
    return User.objects.create_user("staff@example.com", is_staff=True)
