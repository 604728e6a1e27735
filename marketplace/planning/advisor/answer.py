"""The whole answer to a question: pure, out of a question and the catalogue's options."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from marketplace.planning.advisor.fleets.emulation import (
    Emulated,
    Verdict,
    WorkerModel,
    emulate,
    worker_model_of,
)
from marketplace.planning.advisor.fleets.engines import are_engines
from marketplace.planning.advisor.fleets.model import (
    Fleet,
    Step,
    binding,
    fleet_of,
    propose,
    rate_until,
    sensitivity,
)
from marketplace.planning.advisor.fleets.option import Evidence, Option
from marketplace.planning.advisor.fleets.program import Counts
from marketplace.planning.advisor.fleets.queueing import load_of
from marketplace.planning.advisor.fleets.search import Checked, Progress, Search
from marketplace.planning.advisor.question import Question
from router.domain.money import NANO_PER_USD

SAMPLES_HIGH = 1_000
SAMPLES_LOW = 100
TOKEN_TASKS = ("chat", "embeddings", "rerank", "moderation")
COMPARED = ("gpu", "tpu", "cpu")
STAGES_COMPARED = (3_000,)
"""A comparison is one short run. No promise rests on it."""
SEED = 1


class Listed(Struct, frozen=True):
    """An option of the catalogue and why it cannot be chosen (empty: it can)."""

    name: str
    hardware: str
    kind: str
    chips: int
    region: str
    service_ms: float
    slots: int
    capacity_hz: float
    cost_usd: float
    evidence: str
    samples: int
    source: str
    source_url: str
    measured_at: str
    deployment_id: int
    in_service: int
    left_out: str
    idle_within: float
    """Share of the calls within the SLO on an idle instance."""


class Compared(Struct, frozen=True):
    """Another fleet to compare with: the best of one kind, or today's."""

    what: str
    fleet: Fleet | None
    emulated: Emulated | None = None

    @property
    def p99_ms(self) -> float | None:
        return (self.emulated or self.fleet).p99_ms if self.fleet else None

    @property
    def within(self) -> float | None:
        """The share of calls within the SLO: emulated if it was, else by the model."""
        if self.emulated is not None:
            return self.emulated.within[0]
        return self.fleet.within if self.fleet else None

    @property
    def verdict(self) -> str:
        """A :class:`Verdict`, or ``none`` without a fleet."""
        if self.fleet is None:
            return "none"
        if self.emulated is not None:
            return self.emulated.verdict
        return Verdict.MEETS if self.fleet.meets else Verdict.MISSES


class Pilot(Struct, frozen=True):
    """Why figures should be measured before money is spent, and on which deployment they can be."""

    option: str
    reason: str
    deployment_id: int


class Answer(Struct, frozen=True):
    """What is advised. ``fleet`` is None where nothing in the catalogue does it.

    ``fleet`` holds the model's figures; once checked, ``check`` holds the emulated ones, and the
    fleet is the one that was shown to meet the SLO. ``confidence`` is high, medium or low.
    ``worker_model`` says whether its instances are taken as LLM engines, which batch and have a KV
    cache, or as machines with slots; without a fleet it is that of the options.
    """

    task: str
    fleet: Fleet | None
    binding: tuple[str, ...]
    rate_until_hz: float
    compared: tuple[Compared, ...]
    sensitivity: tuple[Step, ...]
    options: tuple[Listed, ...]
    confidence: str
    pilots: tuple[Pilot, ...]
    assumptions: tuple[str, ...]
    check: Checked | None = None
    worker_model: WorkerModel = WorkerModel.SLOTS


def answer(
    question: Question,
    catalogue: Sequence[Option],
    *,
    task: str,
    check_seconds: float = 0.0,
    seed: int = SEED,
    progress: Progress = lambda stage, runs: None,
) -> Answer:
    """Answer by the model; with ``check_seconds`` also check, and refine, by emulation."""
    priced = _priced(question, catalogue)
    left_out = {option.name: _left_out(question, option) for option in priced}
    options = undominated([option for option in priced if not left_out[option.name]])
    checked = None
    if check_seconds > 0 and options:
        search = Search(question, options, seed=seed, seconds_max=check_seconds, progress=progress)
        checked = search.run()
    counts = _counts(checked) if checked else propose(question, options)
    has_tokens = task in TOKEN_TASKS
    fleet, figures = None, checked.figures if checked else None
    if counts:
        traffic = figures.traffic if figures else None
        fleet = fleet_of(question, options, counts, has_tokens=has_tokens, traffic=traffic)

    def run(of: Sequence[Option], counts: Counts, other: Fleet) -> Emulated | None:
        if fleet and fleet.counts == other.counts:
            return figures
        # Where the rate cannot be served a run only shows how long its queue grew.
        if checked is None or other.utilisation >= 1:
            return None
        return emulate(of, counts, question, seed=seed, stages=STAGES_COMPARED)

    compared = _compared(question, priced, options, has_tokens=has_tokens, run=run)
    used = [option for option, n in zip(options, counts or (), strict=False) if n]
    purchasable = [option for option in priced if option.cost_nano and option.service_ms > 0]
    return Answer(
        task=task,
        fleet=fleet,
        binding=binding(question, options, purchasable) if options else ("choice",),
        rate_until_hz=rate_until(question, options, counts) if counts else 0.0,
        compared=tuple(compared),
        sensitivity=tuple(sensitivity(question, options, counts)) if counts else (),
        options=tuple(_listed(question, option, left_out[option.name]) for option in priced),
        confidence=_confidence(used),
        pilots=_pilots(used),
        assumptions=_assumptions(task, used),
        check=checked,
        worker_model=worker_model_of(used or options),
    )


def _counts(checked: Checked) -> Counts | None:
    """The fleet that was shown to meet the SLO, or the model's where there was no time to judge."""
    return checked.counts if checked.judged else checked.proposed


def answer_of(kept: Any) -> Answer:
    """An answer that a row keeps. Raises ``msgspec.ValidationError`` for what is none."""
    return msgspec.convert(kept, Answer)


def undominated(options: Sequence[Option]) -> list[Option]:
    """Without those that cost as much as another or more, have no more slots, and are as slow
    however many calls run.
    """

    def beats(better: Option, other: Option) -> bool:
        at = {at for curve in (better.batch_curve, other.batch_curve) for at, _ in curve}
        return (
            better.cost_nano <= other.cost_nano
            and better.slots >= other.slots
            and (better.engine is None) == (other.engine is None)
            and all(
                better.service_ms_at(n) <= other.service_ms_at(n)
                for n in {1, other.slots, *at}
                if n <= other.slots
            )
        )

    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (o.cost_nano, o.service_ms, -o.slots, o.name)):
        if not any(beats(better, option) for better in kept):
            kept.append(option)
    return kept


def _priced(question: Question, catalogue: Sequence[Option]) -> list[Option]:
    return [
        msgspec.structs.replace(
            option, cost_nano=round(question.prices[option.name] * NANO_PER_USD)
        )
        if option.name in question.prices
        else option
        for option in catalogue
    ]


def _left_out(question: Question, option: Option) -> str:
    if option.evidence is Evidence.PUBLISHED and not question.published:
        return "published"
    if option.kind not in question.kinds:
        return "kind"
    if question.regions and option.region and option.region not in question.regions:
        return "region"
    if not option.cost_nano:
        return "price"
    if not option.has_room:
        return "memory"
    return ""


def _listed(question: Question, option: Option, left_out: str) -> Listed:
    idle = load_of(option, 1, 1e-9, question.size_cv)
    return Listed(
        option.name,
        option.hardware,
        option.kind,
        option.chips,
        option.region,
        option.service_ms,
        option.slots,
        option.capacity_hz,
        option.cost_usd,
        option.evidence.value,
        option.samples,
        option.source,
        option.source_url,
        option.measured_at.isoformat() if option.measured_at else "",
        option.deployment_id,
        option.in_service,
        left_out,
        idle.within(question.slo_ms),
    )


def _compared(
    question: Question,
    priced: Sequence[Option],
    options: Sequence[Option],
    *,
    has_tokens: bool,
    run: Callable[[Sequence[Option], Counts, Fleet], Emulated | None],
) -> Iterator[Compared]:
    """The model's best of each kind, and what is in service now."""
    in_service = [option for option in priced if option.in_service]
    sets = {kind: [option for option in options if option.kind == kind] for kind in COMPARED}
    fleets = {kind: propose(question, of_kind) for kind, of_kind in sets.items()}
    sets["now"] = in_service
    fleets["now"] = tuple(option.in_service for option in in_service)
    for what, counts in fleets.items():
        if not counts:
            yield Compared(what, None)
            continue
        fleet = fleet_of(question, sets[what], counts, has_tokens=has_tokens)
        yield Compared(what, fleet, run(sets[what], counts, fleet))


def _pilots(used: Sequence[Option]) -> tuple[Pilot, ...]:
    return tuple(
        Pilot(option.name, reason, option.deployment_id)
        for option in used
        if (reason := _doubt(option))
    )


def _doubt(option: Option) -> str:
    if option.evidence is not Evidence.MEASURED:
        return option.evidence.value
    if option.stale:
        return "stale"
    if option.samples < SAMPLES_LOW:
        return "samples"
    return "" if option.mix_fits else "mix"


def _confidence(used: Sequence[Option]) -> str:
    if not used or any(_doubt(option) for option in used):
        return "low"
    return "high" if all(option.samples >= SAMPLES_HIGH for option in used) else "medium"


def _assumptions(task: str, used: Sequence[Option]) -> tuple[str, ...]:
    """Codes of :data:`.wording.ASSUMPTIONS`."""
    evidence = {option.evidence for option in used}
    engines = [option.engine for option in used if option.engine]
    found = ["poisson", "lognormal_answers" if engines and are_engines(used) else "lognormal"]
    found.append("end_to_end")
    if task == "chat" and not are_engines(used):
        found.append("prompt_share")
    if engines and not are_engines(used):
        found.append("engines_as_slots")
    if any(not engine.kv_tokens for engine in engines):
        found.append("cache_unknown")
    if Evidence.EMULATED in evidence:
        found.append("roofline")
    if Evidence.PUBLISHED in evidence:
        found.append("one_point")
    for option in used:
        # Those of a published system are not scaled.
        is_scaled = task == "chat" and option.evidence is not Evidence.PUBLISHED
        if not option.mix_fits:
            found.append("mix_typical" if is_scaled else "mix")
    return tuple(dict.fromkeys(found))
