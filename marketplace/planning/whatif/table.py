"""An answer as the rows and columns that a page and a terminal show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.templatetags.units import duration, usd
from marketplace.planning.whatif.answer import Answer, Calibration, PartSeen
from marketplace.planning.whatif.replay.runs import Difference

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
    """One figure. ``span`` is the interval of the difference, "" where it has none."""

    label: object
    really: str
    now: str
    then: str
    span: str = ""
    verdict: str = ""
    verdict_label: object = ""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """The share of the calls that a pool answered, and its deployments as they were simulated."""

    pool: str
    emulated: bool
    really: str
    now: str
    then: str
    fleet_now: tuple[PartSeen, ...]
    fleet_then: tuple[PartSeen, ...]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the replay of now is from what happened in one figure, and how far it may be."""

    label: object
    apart: str
    most: str


def conclusion_of(
    differences: Sequence[Difference], hourly_nano_now: int, hourly_nano_then: int
) -> str:
    """What the changes would do, in a sentence, and what the hardware costs if that changes."""
    better, worse = (
        ", ".join(
            f"{LABELS[found.metric]} {_value(found.metric, found.now)} → "
            f"{_value(found.metric, found.then)}"
            for found in differences
            if found.verdict == verdict
        )
        for verdict in ("better", "worse")
    )
    if better and worse:
        said = _("The changes help some figures (%(better)s) and hurt others (%(worse)s).")
    elif better:
        said = _("The changes help: %(better)s.")
    elif worse:
        said = _("The changes hurt: %(worse)s.")
    else:
        said = _("The changes make no clear difference.")
    said %= {"better": better, "worse": worse}
    if hourly_nano_now == hourly_nano_then:
        return said
    costs = {"then": usd(hourly_nano_then), "now": usd(hourly_nano_now)}
    return f"{said} " + _("Hardware would cost %(then)s an hour instead of %(now)s.") % costs


def rows_of(answer: Answer) -> list[Row]:
    """Metrics with intervals first, then what is counted or certain."""
    sides = (answer.really, answer.now, answer.then)
    costs = (answer.cost_now, answer.cost_then)
    hourly = (usd(cost.hardware_nano_per_hour) for cost in costs)
    per_1000 = (usd(round(cost.hardware_nano * 1_000 / answer.calls)) for cost in costs)
    return [
        *(_metric_row(found, getattr(answer.really, found.metric)) for found in answer.differences),
        Row(_("Wait in the router, mean"), *(duration(side.queue_ms, NO_WAIT) for side in sides)),
        Row(_("Not answered"), *(number_format(side.errors) for side in sides)),
        Row(_("Hardware, an hour"), "–", *hourly),
        Row(_("Hardware for 1,000 calls"), "–", *per_1000),
    ]


def pools_of(answer: Answer) -> list[PoolRow]:
    """Every pool that answered or could have, by name."""
    fleets = (answer.fleet_now, answer.fleet_then)
    really, now, then = (
        {part.pool: percent(part.share) for part in side.pools}
        for side in (answer.really, answer.now, answer.then)
    )
    names = {part.pool for fleet in fleets for part in fleet} | really.keys()
    return [
        PoolRow(
            name,
            any(part.emulated for fleet in fleets for part in fleet if part.pool == name),
            really.get(name, percent(0.0)),
            now.get(name, percent(0.0)),
            then.get(name, percent(0.0)),
            *(tuple(part for part in fleet if part.pool == name) for fleet in fleets),
        )
        for name in sorted(names)
    ]


def distances_of(found: Calibration) -> list[Distance]:
    """The calibration, figure by figure."""
    rows = (
        (_("Mean latency"), found.mean, found.mean_max),
        (_("Latency p99"), found.p99, found.p99_max),
        (LABELS["good"], found.good, found.good_max),
        (_("Calls that another pool answered"), found.shares, found.shares_max),
    )
    return [
        Distance(label, f"{'−' if apart < 0 else '+'}{percent(abs(apart))}", percent(most))
        for label, apart, most in rows
    ]


def charts_of(answer: Answer, since: datetime) -> dict[str, list[float | None]]:
    """Columns for the charts: the replay's own clock, set to where the stretch begins."""
    begins_s = since.timestamp()
    columns: dict[str, list[float | None]] = {
        "at": [begins_s + (at or 0.0) for at in answer.series["now"]["at"]]
    }
    for side in ("now", "then"):
        series = answer.series[side]
        columns[f"good_{side}"] = [None if v is None else 100 * v for v in series["good"]]
        columns[f"p99_{side}"] = series["p99"]
        columns[f"waiting_{side}"] = series["waiting"]
    return columns


def percent(share: float) -> str:
    """A share in the reader's notation."""
    return f"{number_format(round(100 * share, 1), decimal_pos=1)} %"


def _metric_row(found: Difference, really: float) -> Row:
    metric, low, high = found.metric, found.low, found.high
    return Row(
        LABELS[metric],
        _value(metric, really),
        _value(metric, found.now),
        _value(metric, found.then),
        f"{_signed(metric, low)} … {_signed(metric, high)}" if low or high else "",
        found.verdict,
        VERDICTS[found.verdict],
    )


def _signed(metric: str, value: float) -> str:
    return f"{'−' if value < 0 else '+'}{_value(metric, abs(value))}"


def _value(metric: str, value: float) -> str:
    if metric == "good":
        return percent(value)
    if metric == "charge_nano_per_1000":
        return usd(round(value))
    return duration(value, NO_WAIT)
