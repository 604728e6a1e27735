"""A month that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

if TYPE_CHECKING:
    from marketplace.billing.invoices.months import Month


@pytest.fixture
def month_over(monkeypatch: pytest.MonkeyPatch) -> Month:
    """The month in which the tests' transfers are made, seen from soon after it."""
    from marketplace.billing.invoices.services import CLOCK_SKEW
    from tests.integration.marketplace.billing.invoices.statements import THIS_MONTH

    monkeypatch.setattr(timezone, "now", lambda: THIS_MONTH.end + CLOCK_SKEW)
    return THIS_MONTH
