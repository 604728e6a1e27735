"""Runs of one job that meet: each deletes all rows and makes them anew."""

from collections.abc import Callable

import pytest

from marketplace.usage.app_rankings import app_rankings_compute
from marketplace.usage.rankings import rankings_compute
from marketplace.usage.services import deployment_rollups_compute, figures_compute
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.usage.rollups.test_deployments import called


@pytest.mark.parametrize(
    ("make", "rows"), [(rankings_compute, 3), (app_rankings_compute, 3), (figures_compute, 1)]
)
def test_a_second_run_waits_for_the_first(
    committed_shop: Shop, make: Callable[[], int], rows: int
) -> None:
    called(committed_shop, app="chat.example")
    deployment_rollups_compute()
    with meanwhile(make, locked=make) as made:
        assert made == []
    assert made == [rows]
