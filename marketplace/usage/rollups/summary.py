"""Sums over an organisation's calls in a window, by time and by group; for page and API."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.accounts.models import Organisation
from marketplace.usage.models import OUTCOMES
from marketplace.usage.rollups.selectors import (
    CALLER_FIELDS,
    Figures,
    fewest_rollups_of,
    figures_by,
    figures_sum,
    rollups_of,
)
from marketplace.usage.windows import Window

GROUPS_MAX = 20
GROUPS: dict[str, tuple[str, str | Promise]] = {
    "model": ("model", gettext_lazy("Model")),
    "key": ("key_id", gettext_lazy("Key")),
    "member": ("user_id", gettext_lazy("Member")),
    "outcome": ("outcome", gettext_lazy("Outcome")),
}
"""Groupings by their name in the URL: the rollups' field, and its label."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group; ``value`` is the value for the filter of the same name."""

    value: str
    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Step:
    """An hour or a day from ``at`` on."""

    at: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """``groups`` (highest charges, at most `GROUPS_MAX`) and ``others`` add up to ``totals``."""

    totals: Figures
    steps: list[Step]
    groups: list[Group]
    others: Figures
    others_count: int


def summary_of(organisation: Organisation, window: Window, *, by: str, **filters: Any) -> Summary:
    """The summary; ``by`` is a key of `GROUPS`. At most six queries, and one for names."""
    all_rollups = rollups_of(organisation.pk, window, **filters)
    fewest = fewest_rollups_of(organisation.pk, window, **filters)
    by_time = figures_by(fewest, "starts_at")
    field = GROUPS[by][0]
    groups = figures_by(
        fewest if field in CALLER_FIELDS else all_rollups, field, latencies_of=GROUPS_MAX
    )
    names = names_of(organisation, by)
    ordered = list(groups.items())
    totals = figures_sum(list(by_time.values()))
    return Summary(
        totals=totals,
        steps=[Step(at, by_time.get(at, Figures())) for at in window.points],
        groups=[
            Group(str(value), _name(by, value, names), figures)
            for value, figures in ordered[:GROUPS_MAX]
        ],
        others=_others(totals, list(groups.values())),
        others_count=max(len(ordered) - GROUPS_MAX, 0),
    )


def _others(totals: Figures, groups: list[Figures]) -> Figures:
    """The groups after `GROUPS_MAX`, whose latencies are not read: the rest of the totals'."""
    shown = figures_sum(groups[:GROUPS_MAX])
    return replace(
        figures_sum(groups[GROUPS_MAX:]),
        ttft=Counter(totals.ttft) - Counter(shown.ttft),
        total=Counter(totals.total) - Counter(shown.total),
    )


def names_of(organisation: Organisation, by: str) -> dict[Any, object]:
    """Labels of a grouping's values, for keys, members and outcomes."""
    if by == "key":
        return dict(organisation.api_keys.order_by("name", "pk").values_list("pk", "name"))
    if by == "member":
        return dict(organisation.members.order_by("email").values_list("pk", "email"))
    return dict(OUTCOMES) if by == "outcome" else {}


def choices_of(organisation: Organisation, by: str, chosen: int | None) -> dict[Any, object]:
    """What a filter by keys or members offers: also the chosen one where that is gone."""
    names = names_of(organisation, by)
    return names | {chosen: _name(by, chosen, names)} if chosen else names


def _name(by: str, value: Any, names: dict[Any, object]) -> str:
    if value in names:
        return str(names[value])
    if by == "key":
        return _("deleted key") if value else _("in the browser")
    if by == "member":
        return _("former member") if value else _("by key")
    return str(value)
