"""Reads the state of budgets, and who may set them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from marketplace.accounts.models import ApiKey
from marketplace.accounts.permissions import Permission, permission_over
from marketplace.billing.models import Budget, Window


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget now. Its columns are as of the last lease, which may be in an earlier window.

    ``spent_nano``, ``held_nano`` and ``left_nano`` sum to the limit, unless it was lowered below
    the first two. ``resets_at`` is None for a budget without a window.
    """

    budget: Budget
    spent_nano: int
    held_nano: int
    left_nano: int
    resets_at: datetime | None


def budget_state(budget: Budget, *, now: datetime) -> BudgetState:
    """The state of a budget at a moment."""
    starts_at = _window_starts_at(Window(budget.window), now)
    over = starts_at is not None and budget.window_starts_at < starts_at
    spent = 0 if over else budget.spent_nano
    return BudgetState(
        budget=budget,
        spent_nano=spent,
        held_nano=budget.held_nano,
        left_nano=max(budget.limit_nano - spent - budget.held_nano, 0),
        resets_at=_window_ends_at(Window(budget.window), starts_at),
    )


def budget_states(budgets: Iterable[Budget]) -> list[BudgetState]:
    """The states of budgets, all at one moment."""
    now = timezone.now()
    return [budget_state(budget, now=now) for budget in budgets]


def permission_over_budget(key: ApiKey | None) -> Permission:
    """The permission to set a budget: a key's belongs to the key, others to billing."""
    return Permission.MONEY if key is None else permission_over(key)


def _window_starts_at(window: Window, now: datetime) -> datetime | None:
    """The same as ``date_trunc`` in the ledger's functions, in UTC."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        Window.EVER: None,
        Window.DAY: day,
        Window.WEEK: day - timedelta(days=day.weekday()),
        Window.MONTH: day.replace(day=1),
    }[window]


def _window_ends_at(window: Window, starts_at: datetime | None) -> datetime | None:
    if starts_at is None:
        return None
    if window == Window.MONTH:
        return (starts_at + timedelta(days=32)).replace(day=1)
    return starts_at + timedelta(days=7 if window == Window.WEEK else 1)
