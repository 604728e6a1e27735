"""A stored answer as rows and columns that a page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.templatetags.units import duration, usd

NO_WAIT = "0 ms"
LABELS = {
    "mean_ms": gettext_lazy("Latency, mean"),
    "p50_ms": gettext_lazy("Latency, p50"),
    "p90_ms": gettext_lazy("Latency, p90"),
    "p99_ms": gettext_lazy("Latency, p99"),
    "good": gettext_lazy("Within the objective"),
    "charge_nano_per_1000": gettext_lazy("Charged for 1,000 calls"),
}
VERDICTS = {
    "better": gettext_lazy("better"),
    "worse": gettext_lazy("worse"),
    "unclear": gettext_lazy("no clear difference"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``span`` is the difference's interval, "" where it has none."""

    label: object
    really: str
    now: str
    then: str
    span: str = ""
    verdict: str = ""
    verdict_label: object = ""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool's part in each run, and its deployments as they were simulated."""

    pool: str
    emulated: bool
    really: str
    now: str
    then: str
    fleet_now: list[Mapping[str, Any]]
    fleet_then: list[Mapping[str, Any]]


def rows_of(answer: Mapping[str, Any]) -> list[Row]:
    """Metrics with intervals first, then what is counted or certain."""
    sides = [answer[name] for name in ("really", "now", "then")]
    rows = [_metric_row(one, answer["really"]) for one in answer["differences"]]
    rows.append(
        Row(_("Wait in the router, mean"), *(duration(s["queue_ms"], NO_WAIT) for s in sides))
    )
    rows.append(Row(_("Not answered"), *(number_format(s["errors"]) for s in sides)))
    costs = [answer["cost_now"], answer["cost_then"]]
    hourly = (usd(cost["hardware_nano_per_hour"]) for cost in costs)
    rows.append(Row(_("Hardware, an hour"), "–", *hourly))
    per_1000 = (usd(round(cost["hardware_nano"] * 1_000 / answer["calls"])) for cost in costs)
    rows.append(Row(_("Hardware for 1,000 calls"), "–", *per_1000))
    return rows


def pools_of(answer: Mapping[str, Any]) -> list[PoolRow]:
    """Every pool that answered or could have, by name."""
    really, now, then = (
        {part["pool"]: part["share"] for part in answer[name]["pools"]}
        for name in ("really", "now", "then")
    )
    fleets = (answer["fleet_now"], answer["fleet_then"])
    names = {part["pool"] for fleet in fleets for part in fleet}
    return [
        PoolRow(
            name,
            any(p["emulated"] for fleet in fleets for p in fleet if p["pool"] == name),
            really=percent(really.get(name, 0.0)),
            now=percent(now.get(name, 0.0)),
            then=percent(then.get(name, 0.0)),
            fleet_now=[part for part in fleets[0] if part["pool"] == name],
            fleet_then=[part for part in fleets[1] if part["pool"] == name],
        )
        for name in sorted(names | really.keys())
    ]


def calibration_of(answer: Mapping[str, Any]) -> list[dict[str, object]]:
    """How far the replay of now is from what happened, each with its bound."""
    found = answer["calibration"]
    labels = {
        "mean": _("Mean latency"),
        "p99": _("Latency p99"),
        "good": LABELS["good"],
        "shares": _("Calls that another pool answered"),
    }
    return [
        {
            "label": label,
            "apart": f"{'−' if found[name] < 0 else '+'}{percent(abs(found[name]))}",
            "most": percent(found[f"{name}_max"]),
        }
        for name, label in labels.items()
        if name in found  # Shares were not held against each other at first.
    ]


def charts_of(answer: Mapping[str, Any], since: datetime) -> dict[str, list[Any]]:
    """Columns for the charts: the replay's own clock, set to where the stretch begins."""
    series = answer["series"]
    made: dict[str, list[Any]] = {
        "at": [since.timestamp() + seconds for seconds in series["now"]["at"]]
    }
    for side in ("now", "then"):
        made[f"good_{side}"] = [_percent(value) for value in series[side]["good"]]
        made[f"p99_{side}"] = series[side]["p99"]
        made[f"waiting_{side}"] = series[side]["waiting"]
    return made


def percent(share: float) -> str:
    """A share in the reader's notation."""
    return f"{number_format(round(100 * share, 1), decimal_pos=1)} %"


def _metric_row(one: Mapping[str, Any], really: Mapping[str, Any]) -> Row:
    metric, low, high = one["metric"], one["low"], one["high"]
    changed = low or high
    return Row(
        LABELS[metric],
        really=_shown(metric, really[metric]),
        now=_shown(metric, one["now"]),
        then=_shown(metric, one["then"]),
        span=f"{_more(metric, low)} … {_more(metric, high)}" if changed else "",
        verdict=one["verdict"],
        verdict_label=VERDICTS[one["verdict"]],
    )


def _more(metric: str, value: float) -> str:
    sign = "−" if value < 0 else "+"
    return f"{sign}{_shown(metric, abs(value))}"


def _shown(metric: str, value: float) -> str:
    if metric == "good":
        return percent(value)
    if metric == "charge_nano_per_1000":
        return usd(round(value))
    return duration(value, NO_WAIT)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
