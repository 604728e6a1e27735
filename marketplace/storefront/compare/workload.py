"""Estimates a workload's monthly cost and latency on each deployment, from prices in force and
measured figures only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Task
from marketplace.catalog.prices import price_of
from marketplace.catalog.selectors import Priced
from marketplace.shared.numbers import whole
from marketplace.storefront.browse.listing import Listing
from marketplace.usage.rollups.deployments import Measured
from router.domain.pricing import Usage, charge_nano

DAYS_PER_MONTH = 30


@dataclass(frozen=True, slots=True)
class Workload:
    """Calls a day, and the units of each call; a model's task uses some of them."""

    calls: int = 1_000
    tokens_in: int = 500
    tokens_out: int = 200
    rows: int = 1
    images: int = 1


@dataclass(frozen=True, slots=True)
class Bound:
    """The minimum and maximum of a field, and its label."""

    low: int
    high: int
    label: Promise


BOUNDS = {
    "calls": Bound(1, 10_000_000, _("Calls per day")),
    "tokens_in": Bound(1, 1_000_000, _("Tokens in, per call")),
    "tokens_out": Bound(1, 100_000, _("Tokens out, per call")),
    "rows": Bound(1, 100_000, _("Rows or other units per call")),
    "images": Bound(1, 1_000, _("Images per call")),
}
FIELDS_BY_TASK = {
    Task.CHAT: ("tokens_in", "tokens_out"),
    Task.EMBEDDINGS: ("tokens_in",),
    Task.RERANK: ("rows",),
    Task.MODERATION: ("rows",),
    Task.IMAGE: ("images",),
    Task.SPEECH: ("rows",),
    Task.TRANSCRIPTION: ("rows",),
    Task.TABULAR: ("rows",),
    Task.VISION: ("images",),
}


def workload_of(query: Mapping[str, str]) -> Workload:
    """The workload in a URL's query. An invalid number is the default; bounds are enforced."""
    values = {}
    for name, bound in BOUNDS.items():
        value = whole(query.get(name, "").strip())
        if value is not None:
            values[name] = min(max(value, bound.low), bound.high)
    return Workload(**values)


def pairs(workload: Workload) -> list[tuple[str, int]]:
    """The query that :func:`workload_of` reads, without defaults."""
    usual = Workload()
    values = [(field.name, getattr(workload, field.name)) for field in fields(workload)]
    return [(name, value) for name, value in values if value != getattr(usual, name)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One deployment under the workload. A value is None if it cannot be known.

    ``latency_ms`` is of a call: the median time to first byte plus the measured time of each
    later token, or, for a task without tokens, the measured median of whole calls. A price by
    the second uses the mean time that measured calls occupied a worker.
    """

    listing: Listing
    priced: Priced
    measured: Measured
    call_nano: int | None
    latency_ms: float | None

    def month_nano(self, workload: Workload) -> int | None:
        if self.call_nano is None:
            return None
        return self.call_nano * workload.calls * DAYS_PER_MONTH


def estimates(
    listing: Listing, workload: Workload, measured: Mapping[int, Measured]
) -> list[Estimate]:
    """An estimate for each deployment on sale; ``measured`` is by deployment id."""
    found = []
    for priced in listing.priced:
        known = measured.get(priced.deployment.pk, Measured())
        found.append(
            Estimate(
                listing=listing,
                priced=priced,
                measured=known,
                call_nano=_call_nano(listing, priced, workload, known),
                latency_ms=_latency_ms(listing, workload, known),
            )
        )
    return found


def _call_nano(
    listing: Listing, priced: Priced, workload: Workload, measured: Measured
) -> int | None:
    price = price_of(priced.offer)
    if price.second_nano and measured.busy_ms is None:
        return None
    asked = FIELDS_BY_TASK[Task(listing.model.task)]
    has = {name: getattr(workload, name) if name in asked else 0 for name in BOUNDS}
    usage = Usage(
        prompt_tokens=has["tokens_in"],
        completion_tokens=has["tokens_out"],
        rows=has["rows"],
        images=has["images"],
        hardware_ms=round(measured.busy_ms or 0),
    )
    return charge_nano(price, usage)


def _latency_ms(listing: Listing, workload: Workload, measured: Measured) -> float | None:
    if "tokens_out" not in FIELDS_BY_TASK[Task(listing.model.task)]:
        return measured.total_ms_p50
    if measured.token_ms is None:
        # Measured times are of answers of another length.
        return None
    return (measured.ttft_ms_p50 or 0.0) + workload.tokens_out * measured.token_ms
