"""Whatever a task needs outside of the table of tasks is there, for each."""

import pytest

from marketplace.benchmarks.loadgen.plan import DEFAULTS, TASKS
from marketplace.billing.invoices.focus import METERS
from marketplace.catalog.models import Task
from marketplace.catalog.prices import ITEMS, PER_UNIT
from marketplace.providers.on_sale.prices import TYPICAL_BY_TASK
from marketplace.storefront.browse.filters import TASKS_BY_MODALITY
from marketplace.storefront.compare.workload import FIELDS_BY_TASK
from router.domain import protocols
from router.domain.pricing import PRICE_FIELDS, Price, Usage, charge_lines
from router.domain.protocols import KINDS, MARKET_KINDS
from router.domain.request import Kind

UNITS = sorted({task.unit for task in protocols.TASKS.values()})


def test_the_catalog_has_the_routers_tasks() -> None:
    assert set(Task.values) == set(protocols.TASKS)


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_has_its_labels_and_its_meter(unit: str) -> None:
    assert unit in ITEMS
    assert unit in PER_UNIT
    assert unit in METERS


@pytest.mark.parametrize("unit", UNITS)
def test_a_charge_says_what_its_rows_are(unit: str) -> None:
    (line,) = charge_lines(Price(1, row_nano=7, unit=unit), Usage(rows=3))
    assert (line.item, line.quantity, line.unit_nano) == (unit, 3, 7)


def test_a_unit_is_no_price() -> None:
    assert "unit" not in PRICE_FIELDS


@pytest.mark.parametrize("task", Task)
def test_each_task_can_be_sold_compared_and_found(task: Task) -> None:
    assert task in TYPICAL_BY_TASK
    assert task in FIELDS_BY_TASK
    assert any(task in tasks for tasks in TASKS_BY_MODALITY.values())


def test_each_task_can_be_measured() -> None:
    assert set(TASKS) == set(DEFAULTS) == set(Task.values)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_of_a_task_and_of_a_protocol(kind: Kind) -> None:
    assert kind in KINDS
    assert any(kind in task.kinds for task in protocols.TASKS.values())
    assert any(kind in kinds for kinds in MARKET_KINDS.values())
