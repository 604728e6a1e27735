"""The fleet that the queueing model proposes, what it expects of it, and what changes it. Pure."""

import math
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.program import COUNT_MAX, Counts, Part, cheapest, cost_of
from marketplace.planning.advisor.fleets.queueing import Load, latency_ms, load_of, rate_carried
from marketplace.planning.advisor.question import KINDS, SLO_MS_MAX, Question

RATES = (0.5, 0.8, 1.2, 1.5)
SLOS = (0.5, 0.8, 1.25, 2.0)
PRICES = (0.8, 1.2)
SECONDS_PER_HOUR = 3600.0


class Line(Struct, frozen=True):
    """``count`` instances of an option, and the share of the calls that they get."""

    option: str
    hardware: str
    kind: str
    chips: int
    count: int
    cost_usd: float
    traffic: float
    utilisation: float
    evidence: str


class Fleet(Struct, frozen=True):
    """A fleet under the peak rate, by the queueing model. Costs at the mean rate."""

    lines: tuple[Line, ...]
    cost_usd: float
    within: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    utilisation: float
    meets: bool
    usd_per_1k_calls: float
    usd_per_1m_tokens: float | None
    usd_per_1k_met: float | None
    """Per thousand calls that ended within the SLO."""

    @property
    def counts(self) -> dict[str, int]:
        """Instances by option."""
        return {line.option: line.count for line in self.lines}


class Step(Struct, frozen=True):
    """The fleet after one change; its cost is None where no fleet meets the question."""

    what: str
    factor: float
    value: float
    cost_usd: float | None
    fleet: dict[str, int]
    option: str = ""

    @property
    def change(self) -> float:
        return self.factor - 1


def parts_of(question: Question, options: Sequence[Option], *, rate_hz: float = 0.0) -> list[Part]:
    """What each count of an option carries: as many as ``rate_hz`` (the peak) and a spare need."""
    return [_part(question, option, rate_hz or question.peak_hz) for option in options]


def _part(question: Question, option: Option, enough_hz: float) -> Part:
    carries: list[float] = []
    if _hopeless(question, option):
        return Part(option.cost_usd, ())
    for count in range(1, COUNT_MAX + 1):
        carries.append(_carried_hz(question, option, count))
        if count > 1 and carries[-2] >= enough_hz:
            break
    return Part(option.cost_usd, tuple(carries))


def _hopeless(question: Question, option: Option) -> bool:
    """Whether calls miss even on idle instances, however many."""
    return load_of(option, 1, 1e-9, question.size_cv).within(question.slo_ms) < question.share


def propose(question: Question, options: Sequence[Option]) -> Counts | None:
    """The model's cheapest fleet."""
    return cheapest(
        parts_of(question, options),
        question.peak_hz,
        budget=question.budget_usd,
        spare=question.spare,
    )


def fleet_of(
    question: Question,
    options: Sequence[Option],
    counts: Counts,
    *,
    has_tokens: bool,
    traffic: dict[str, float] | None = None,
) -> Fleet:
    """What the model expects of a fleet.

    ``traffic`` has the share of calls of each option. Without it, they go by what each carries.
    """
    used = [(o, n) for o, n in zip(options, counts, strict=True) if n]
    weights = [_carried_hz(question, o, n) for o, n in used]
    if sum(weights) == 0:
        weights = [o.capacity_hz * n for o, n in used]
    shares = [weight / sum(weights) for weight in weights]
    if traffic:
        shares = [traffic.get(o.name, 0.0) for o, _ in used]
    peak = question.peak_hz
    loads = [
        load_of(o, n, peak * s, question.size_cv) for (o, n), s in zip(used, shares, strict=True)
    ]
    weighted = list(zip(shares, loads, strict=True))
    within = sum(share * load.within(question.slo_ms) for share, load in weighted)
    cost = sum(o.cost_usd * n for o, n in used)
    calls = question.rate_hz * SECONDS_PER_HOUR
    tokens = calls * (question.prompt_tokens + question.completion_tokens)
    return Fleet(
        lines=tuple(
            Line(
                o.name,
                o.hardware,
                o.kind,
                o.chips,
                n,
                o.cost_usd * n,
                share,
                load.utilisation,
                o.evidence.value,
            )
            for (o, n), share, load in zip(used, shares, loads, strict=True)
        ),
        cost_usd=cost,
        within=within,
        p50_ms=_percentile(weighted, 0.5),
        p90_ms=_percentile(weighted, 0.9),
        p99_ms=_percentile(weighted, 0.99),
        utilisation=peak / sum(o.capacity_hz * n for o, n in used),
        meets=within >= question.share,
        usd_per_1k_calls=cost / calls * 1e3,
        usd_per_1m_tokens=cost / tokens * 1e6 if has_tokens else None,
        usd_per_1k_met=cost / calls / within * 1e3 if within > 0 else None,
    )


def _carried_hz(question: Question, option: Option, count: int) -> float:
    return rate_carried(
        option,
        count,
        slo_ms=question.slo_ms,
        share=question.share,
        cv=question.size_cv,
        utilisation_max=question.utilisation_max,
    )


def _percentile(loads: Sequence[tuple[float, Load]], share: float) -> float | None:
    found = latency_ms([(part, load) for part, load in loads if part > 0], share)
    return found if math.isfinite(found) else None


def rate_until(question: Question, options: Sequence[Option], counts: Counts) -> float:
    """The mean rate up to which the fleet meets the SLO, by the model."""
    carried = [
        (_carried_hz(question, o, n), o, n) for o, n in zip(options, counts, strict=True) if n
    ]
    total = sum(rate for rate, _, _ in carried)
    if question.spare:
        total -= max(
            rate - (_carried_hz(question, o, n - 1) if n > 1 else 0.0) for rate, o, n in carried
        )
    return total / question.peak_factor


def sensitivity(question: Question, options: Sequence[Option], counts: Counts) -> list[Step]:
    """The model's fleet where the rate, the SLO or the price of what was chosen is another."""

    def step(what: str, factor: float, value: float, asked: Question, of: Sequence[Option]) -> Step:
        found = propose(asked, of)
        named = {o.name: n for o, n in zip(of, found or (), strict=False) if n}
        cost = sum(o.cost_usd * n for o, n in zip(of, found or (), strict=False))
        return Step(what, factor, value, cost if found else None, named)

    replace = msgspec.structs.replace
    steps = [
        step(
            "rate",
            f,
            question.rate_hz * f,
            replace(question, rate_hz=question.rate_hz * f),
            options,
        )
        for f in RATES
    ]
    steps += [
        step("slo", f, question.slo_ms * f, replace(question, slo_ms=question.slo_ms * f), options)
        for f in SLOS
    ]
    for i, count in enumerate(counts):
        for f in PRICES if count else ():
            dearer = replace(options[i], cost_nano=round(options[i].cost_nano * f))
            priced = [dearer if j == i else o for j, o in enumerate(options)]
            made = step("price", f, dearer.cost_usd, question, priced)
            steps.append(replace(made, option=options[i].name))
    return steps


def binding(
    question: Question, options: Sequence[Option], everything: Sequence[Option]
) -> tuple[str, ...]:
    """Which constraints cost money: without each of them alone the fleet would be cheaper.

    Where there is no fleet: without which of them there would be one. ``everything`` has the
    options without limits on kinds, regions and sources.
    """
    counts = propose(question, options)
    parts = parts_of(question, options)
    cost = cost_of(parts, counts) if counts else math.inf
    replace = msgspec.structs.replace
    eased: list[tuple[str, Callable[[], float]]] = [
        ("slo", lambda: _least(replace(question, slo_ms=SLO_MS_MAX), options)),
        ("utilisation", lambda: _least(replace(question, utilisation_max=0.99), options)),
        ("choice", lambda: _least(replace(question, kinds=KINDS), everything)),
    ]
    if question.spare:
        eased.append(("spare", lambda: _least(replace(question, spare=False), options)))
    if question.peak_factor > 1:
        eased.append(("peak", lambda: _least(replace(question, peak_factor=1.0), options)))
    if question.budget_usd:
        eased.append(("budget", lambda: _least(replace(question, budget_usd=0.0), options)))
    found = tuple(name for name, least in eased if least() < cost * (1 - 1e-9))
    return found or (("rate",) if counts else ())


def _least(question: Question, options: Sequence[Option]) -> float:
    counts = propose(question, options)
    if counts is None:
        return math.inf
    return sum(o.cost_usd * n for o, n in zip(options, counts, strict=True))
