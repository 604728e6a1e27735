"""The whole answer to a question: pure, out of a question and the catalogue's options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from marketplace.planning.advisor.emulation import Emulated, emulate
from marketplace.planning.advisor.model import (
    Fleet,
    Step,
    binding,
    fleet_of,
    propose,
    rate_until,
    sensitivity,
)
from marketplace.planning.advisor.option import NANO_PER_USD, Evidence, Option
from marketplace.planning.advisor.program import Counts
from marketplace.planning.advisor.question import Question
from marketplace.planning.advisor.queueing import load_of
from marketplace.planning.advisor.search import Checked, Progress, Search

SAMPLES_HIGH = 1_000
SAMPLES_LOW = 100
TOKEN_TASKS = ("chat", "embeddings")
COMPARED = ("gpu", "tpu", "cpu")
STAGES_COMPARED = (3_000,)
"""A comparison is one short run: enough to see, and not what the promise rests on."""
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
    """Another fleet beside the advised one: the best of one kind, or today's."""

    what: str
    fleet: Fleet | None
    emulated: Emulated | None = None


class Pilot(Struct, frozen=True):
    """Why figures should be measured before money is spent, and on which deployment they can be."""

    option: str
    reason: str
    deployment_id: int


class Answer(Struct, frozen=True):
    """What is advised. ``fleet`` is None where nothing in the catalogue does it.

    ``fleet`` holds the model's figures; once checked, ``check`` holds the emulated ones, and the
    fleet is the one that was shown to meet the SLO. ``confidence`` is high, medium or low.
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
    everything = [o for o in priced if o.cost_nano and o.service_ms > 0]
    counts = propose(question, options)
    checked = None
    if check_seconds > 0 and options:
        search = Search(question, options, seed=seed, seconds_max=check_seconds, progress=progress)
        checked = search.run()
        counts = checked.counts
        if counts is None and not checked.complete and not checked.proposed_verdict:
            counts = checked.proposed  # Time was over before it could be shown: the model's stays.
    has_tokens = task in TOKEN_TASKS
    traffic = checked.figures.traffic if checked and checked.figures else None
    fleet = (
        fleet_of(question, options, counts, has_tokens=has_tokens, traffic=traffic)
        if counts
        else None
    )
    pilots = _pilots(options, counts or ())
    return Answer(
        task=task,
        fleet=fleet,
        binding=binding(question, options, everything) if options else ("choice",),
        rate_until_hz=rate_until(question, options, counts) if counts else 0.0,
        compared=_compared(
            question,
            priced,
            options,
            has_tokens=has_tokens,
            run=checked is not None,
            seed=seed,
            advised=(fleet, checked.figures if checked else None),
        ),
        sensitivity=tuple(sensitivity(question, options, counts)) if counts else (),
        options=tuple(_listed(question, option, left_out[option.name]) for option in priced),
        confidence=_confidence(options, counts or ()),
        pilots=pilots,
        assumptions=_assumptions(
            task, [o for o, n in zip(options, counts or (), strict=False) if n]
        ),
        check=checked,
    )


def answer_json(made: Answer) -> dict[str, Any]:
    """As a row or an API keeps it."""
    return msgspec.to_builtins(made)


def answer_of(kept: Any) -> Answer:
    """Read :func:`answer_json` back. Raises ``msgspec.ValidationError`` for what is none."""
    return msgspec.convert(kept, Answer)


def undominated(options: Sequence[Option]) -> list[Option]:
    """Without those that another one beats or equals in cost, speed alone and slots at every
    load.
    """

    def beats(one: Option, other: Option) -> bool:
        return (
            one.cost_nano <= other.cost_nano
            and one.slots >= other.slots
            and one.service_ms <= other.service_ms
            and one.batch_curve == other.batch_curve
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
    run: bool,
    seed: int,
    advised: tuple[Fleet | None, Emulated | None],
) -> tuple[Compared, ...]:
    """The model's best of each kind, and what is in service now; run once if the answer is."""
    of_kind = {kind: [o for o in options if o.kind == kind] for kind in COMPARED}
    sets = [(kind, found, propose(question, found)) for kind, found in of_kind.items()]
    now = [option for option in priced if option.in_service]
    sets.append(("now", now, tuple(option.in_service for option in now) or None))
    rows: list[Compared] = []
    for what, found, counts in sets:
        if counts is None:
            rows.append(Compared(what, None))
            continue
        fleet = fleet_of(question, found, counts, has_tokens=has_tokens)
        emulated = None
        if advised[0] is not None and _made_of(fleet) == _made_of(advised[0]):
            emulated = advised[1]
        # Where the rate cannot be served a run only shows how long its queue grew.
        elif run and fleet.utilisation < 1:
            emulated = emulate(found, counts, question, seed=seed, stages=STAGES_COMPARED)
        rows.append(Compared(what, fleet, emulated))
    return tuple(rows)


def _made_of(fleet: Fleet) -> dict[str, int]:
    return {line.option: line.count for line in fleet.lines}


def _pilots(options: Sequence[Option], counts: Counts) -> tuple[Pilot, ...]:
    return tuple(
        Pilot(option.name, reason, option.deployment_id)
        for option, count in zip(options, counts, strict=False)
        if count and (reason := _doubt(option))
    )


def _doubt(option: Option) -> str:
    if option.evidence is not Evidence.MEASURED:
        return option.evidence.value
    if option.stale:
        return "stale"
    if option.samples < SAMPLES_LOW:
        return "samples"
    return "" if option.mix_fits else "mix"


def _confidence(options: Sequence[Option], counts: Counts) -> str:
    used = [option for option, count in zip(options, counts, strict=False) if count]
    if not used or any(_doubt(option) for option in used):
        return "low"
    return "high" if all(option.samples >= SAMPLES_HIGH for option in used) else "medium"


def _assumptions(task: str, used: Sequence[Option]) -> tuple[str, ...]:
    """Codes that the page and the docs put into words."""
    evidence = {option.evidence for option in used}
    found = ["poisson", "lognormal", "end_to_end"]
    if task == "chat":
        found.append("prompt_share")
    if Evidence.EMULATED in evidence:
        found.append("roofline")
    if Evidence.PUBLISHED in evidence:
        found.append("one_point")
    if any(not option.mix_fits for option in used):
        found.append("mix")
    return tuple(found)
