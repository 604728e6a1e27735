"""The topology for its page: key figures first, then workers drawn as slots."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace.catalog.templatetags.units import duration, share
from marketplace.routing.topology.flow import busiest
from marketplace.routing.topology.picture import (
    Condition,
    Expected,
    PoolBox,
    Queue,
    Topology,
    WorkerBox,
)
from marketplace.routing.topology.selectors import Overview

QUEUES_MAX = 60
POOLS_MAX = 120
"""Pools shown at most, the busiest; the API has all."""

SLOTS_DRAWN_MAX = 32
"""Slots drawn of a worker at most; with more, each stands for several."""

CONDITIONS: dict[Condition, tuple[str, object]] = {
    Condition.DOWN: ("◆", gettext_lazy("down")),
    Condition.EJECTED: ("✕", gettext_lazy("ejected")),
    Condition.DRAINING: ("↓", gettext_lazy("draining")),
    Condition.UNSEEN: ("?", gettext_lazy("not in use")),
    Condition.RAMPING: ("↗", gettext_lazy("ramping up")),
    Condition.FULL: ("●", gettext_lazy("full")),
    Condition.BUSY: ("◐", gettext_lazy("busy")),
    Condition.FREE: ("○", gettext_lazy("free")),
}
"""A mark, distinct without colour, and a label."""

GRAVE = frozenset({Condition.DOWN, Condition.EJECTED})


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure of the overview; ``is_bad`` highlights it."""

    key: str
    label: str
    value: str
    note: str
    url: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker; each of ``slots`` is "on" (busy), "off" (free) or "out" (not used now)."""

    box: WorkerBox
    mark: str
    word: object
    is_grave: bool
    slots: tuple[str, ...]
    learned: Expected | None

    @property
    def left(self) -> int:
        """Requests that a draining worker still runs."""
        return self.box.in_flight


@dataclass(frozen=True, slots=True)
class Pool:
    box: PoolBox
    workers: tuple[Worker, ...]


def tiles_of(now: Topology, overview: Overview) -> list[Tile]:
    """The figures that an operator checks first; each links to its details."""
    return [
        *_traffic(now, overview),
        *_workers(now, overview),
        *_routes(overview),
        *_state(now, overview),
    ]


def queues_shown(now: Topology) -> list[Queue]:
    """The queues in a stable order; only the busiest if there are too many."""
    return busiest(now.queues, QUEUES_MAX, lambda q: (q.waiting, q.in_flight, q.ended_hz or 0.0))


def pools_shown(now: Topology) -> list[Pool]:
    """As :func:`queues_shown`; pools with a worker in grave condition come first."""

    def weight(box: PoolBox) -> tuple[float, ...]:
        return sum(worker.condition in GRAVE for worker in box.workers), box.in_flight, box.slots

    return [
        Pool(box, tuple(_worker(worker) for worker in box.workers))
        for box in busiest(now.pools, POOLS_MAX, weight)
    ]


def _worker(box: WorkerBox) -> Worker:
    mark, word = CONDITIONS[box.condition]
    return Worker(
        box=box,
        mark=mark,
        word=word,
        is_grave=box.condition in GRAVE,
        slots=_slots(box),
        learned=max(box.expected, key=lambda expected: expected.samples, default=None),
    )


def _slots(box: WorkerBox) -> tuple[str, ...]:
    drawn = min(box.row.slots, SLOTS_DRAWN_MAX)
    # Rounded up: a worker that runs anything shows at least one busy slot.
    on = -(-min(box.in_flight, box.row.slots) * drawn // box.row.slots)
    usable = -(-max(box.in_use, min(box.in_flight, box.row.slots)) * drawn // box.row.slots)
    return ("on",) * on + ("off",) * (usable - on) + ("out",) * (drawn - usable)


def _traffic(now: Topology, overview: Overview) -> list[Tile]:
    figures = overview.figures
    minute = _("%(n)s calls of the last minute") % {"n": number_format(figures.calls)}
    full = now.slots > 0 and now.in_flight >= now.slots
    return [
        Tile("rate", _("Calls per second"), _plain(figures.rate_hz, 1), minute, reverse("routes")),
        Tile(
            "p99",
            _("Latency, p99"),
            duration(figures.p99_ms),
            _("%(n)s completed calls") % {"n": number_format(figures.completed)},
            reverse("benchmarks"),
        ),
        Tile(
            "failed",
            _("Failures"),
            "–" if figures.failed_share is None else f"{share(figures.failed_share)} %",
            _("%(n)s in the last minute, and %(mistakes)s mistakes of callers")
            % {"n": number_format(figures.failed), "mistakes": number_format(figures.refused)},
            "#queues",
            is_bad=figures.is_failing,
        ),
        Tile(
            "waiting",
            _("Waiting"),
            number_format(now.waiting),
            _("in all queues"),
            "#queues",
        ),
        Tile(
            "in_flight",
            _("In flight"),
            number_format(now.in_flight),
            _("of %(slots)s slots") % {"slots": number_format(now.slots)},
            "#pools",
            is_bad=full,
        ),
    ]


def _workers(now: Topology, overview: Overview) -> list[Tile]:
    out = now.ejected + now.down
    return [
        Tile(
            "out",
            _("Ejected or down"),
            number_format(out),
            _("%(ejected)s ejected, %(down)s down, %(draining)s draining")
            % {"ejected": now.ejected, "down": now.down, "draining": now.draining},
            "#pools",
            is_bad=bool(out),
        ),
        Tile(
            "stragglers",
            _("Stragglers"),
            number_format(overview.stragglers),
            _("clearly slower than their pool"),
            reverse("routes"),
            is_bad=bool(overview.stragglers),
        ),
    ]


def _routes(overview: Overview) -> list[Tile]:
    return [
        Tile(
            "canaries",
            _("Canaries"),
            number_format(overview.canaries),
            ngettext("%(n)s proposal waits", "%(n)s proposals wait", overview.proposals)
            % {"n": overview.proposals},
            reverse("routes"),
        )
    ]


def _state(now: Topology, overview: Overview) -> list[Tile]:
    behind = sum(row.is_behind for row in now.routers)
    if overview.gaps is None:
        books, note = "–", _("never checked")
    else:
        books = _("balanced") if not overview.gaps else number_format(overview.gaps)
        note = _("too old") if overview.is_report_old else ""
        note = note or (_("discrepancies") if overview.gaps else _("checked recently"))
    return [
        Tile(
            "books",
            _("Books"),
            books,
            note,
            reverse("reconciliation"),
            is_bad=bool(overview.gaps) or overview.is_report_old,
        ),
        Tile(
            "snapshot",
            _("Snapshot"),
            number_format(now.snapshot_version),
            _("%(n)s routers are behind") % {"n": behind} if behind else _("on every router"),
            "#routers",
            is_bad=bool(behind) or not now.answering,
        ),
        Tile(
            "unmeasured",
            _("Not measured"),
            number_format(overview.unmeasured),
            _("of %(n)s deployments, no profile in force") % {"n": overview.deployments},
            reverse("benchmarks"),
            is_bad=bool(overview.unmeasured),
        ),
    ]


def _plain(value: float, decimals: int) -> str:
    return str(number_format(round(value, decimals), decimal_pos=decimals))
