"""``python -m tests.bench.advisor``: is the advisor's fleet right, by emulation, on seeded
questions?

The catalogue is the emulated one (docs/explanation/emulation.md) at the demo's costs. Each question
is answered and checked as ``manage.py advise --check`` does it. Then, with arrivals that the search
has not seen: does the advised fleet keep its promise, and do the cheaper ones still miss it?
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator
from random import Random

from msgspec import Struct

from marketplace.demo.offering import POOLS
from marketplace.planning.advisor.answer import undominated
from marketplace.planning.advisor.emulation import Verdict, emulate
from marketplace.planning.advisor.option import Evidence, Option, kind_of
from marketplace.planning.advisor.program import Counts
from marketplace.planning.advisor.question import Question
from marketplace.planning.advisor.roofline import Emulated, emulated
from marketplace.planning.advisor.search import Checked, Search

SEARCH_SEED, FRESH_SEED = 1, 1_001
PROMISE_CALLS = (24_000,)
COST_NANO = {pool.name: pool.worker_cost_nano_per_hour for pool in POOLS}


class Outcome(Struct, frozen=True):
    """One question's. ``kept`` is whether the promise held on fresh arrivals; ``cheaper`` how many
    of the largest cheaper fleets came to which verdict there, and ``unforeseen`` how many met the
    SLO that the search had not called borderline.
    """

    proposed: str
    found: bool
    complete: bool
    kept: bool
    within: float
    cheaper: Counter[str]
    unforeseen: int = 0


def catalogue(question: Question) -> list[Option]:
    """The emulated chips, alone and tensor-parallel."""
    return [_option(one, question) for one in emulated() if one.model == question.model]


def questions(count: int, rng: Random) -> Iterator[Question]:
    """Workloads that some part of the catalogue could be bought for."""
    models = sorted({one.model for one in emulated()})
    for _ in range(count):
        rows = [one for one in emulated() if one.model == rng.choice(models)]
        one = rng.choice(rows or list(emulated()))
        base = Question(
            model=one.model,
            rate_hz=1,
            slo_ms=1,
            prompt_tokens=round(rng.uniform(16, 512)),
            completion_tokens=round(rng.uniform(16, 256)),
            size_cv=rng.choice((0.3, 0.5, 1.0)),
        )
        typical = _option(one, base)
        at_work_ms = typical.slots / typical.capacity_hz * 1e3
        yield Question(
            model=one.model,
            prompt_tokens=base.prompt_tokens,
            completion_tokens=base.completion_tokens,
            size_cv=base.size_cv,
            rate_hz=round(rng.randint(1, 3) * rng.uniform(0.3, 0.8) * typical.capacity_hz, 3),
            slo_ms=round(at_work_ms * rng.uniform(3, 10), 1),
            share=rng.choice((0.9, 0.95, 0.99)),
            spare=rng.random() < 0.25,
        )


def tried(question: Question, seconds: float) -> tuple[list[Option], Checked, Outcome]:
    """Answer one question, and look at the answer with fresh arrivals."""
    options = undominated(catalogue(question))
    checked = Search(question, options, seed=SEARCH_SEED, seconds_max=seconds).run()
    if checked.counts is None:
        nothing = Outcome(checked.proposed_verdict, False, checked.complete, False, 0.0, Counter())
        return options, checked, nothing
    again = emulate(options, checked.counts, question, seed=FRESH_SEED, stages=PROMISE_CALLS)
    fresh = Search(question, options, seed=FRESH_SEED, seconds_max=math.inf)
    fleets = fresh.worth_running(cost(options, checked.counts))
    judged = {fleet: fresh.judge(fleet) for fleet in fleets}
    verdicts = Counter(verdict.value for verdict in judged.values())
    borderline = [near.fleet for near in checked.nearest if near.verdict is Verdict.BORDERLINE]
    unforeseen = sum(
        verdict is Verdict.MEETS and _named(options, fleet) not in borderline
        for fleet, verdict in judged.items()
    )
    kept = again.within[0] >= question.share
    return (
        options,
        checked,
        Outcome(
            checked.proposed_verdict,
            True,
            checked.complete,
            kept,
            again.within[0],
            verdicts,
            unforeseen,
        ),
    )


def _named(options: list[Option], counts: Counts) -> dict[str, int]:
    return {option.name: n for option, n in zip(options, counts, strict=True) if n}


def cost(options: list[Option], counts: Counts) -> float:
    """USD an hour."""
    return sum(option.cost_usd * n for option, n in zip(options, counts, strict=True))


def _option(one: Emulated, question: Question) -> Option:
    service_ms, curve = one.of(question)
    return Option(
        name=f"{one.chips} × {one.hardware}",
        hardware=one.hardware,
        kind=kind_of(one.hardware),
        chips=one.chips,
        region="local",
        service_ms=service_ms,
        slots=one.slots,
        batch_curve=curve,
        evidence=Evidence.EMULATED,
        cost_nano=COST_NANO[one.pool] * one.chips // one.pool_chips,
    )


def main() -> int:
    """0 where every promise held and no cheaper fleet met it that was not called borderline."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.advisor", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300.0, help="most for a question's search")
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    for number, question in enumerate(questions(arguments.questions, Random(arguments.seed)), 1):
        options, checked, outcome = tried(question, arguments.seconds)
        outcomes.append(outcome)
        print(
            f"{number:3d} {question.model}: {question.rate_hz:g}/s, "
            f"p{question.share * 100:g} {question.slo_ms:g} ms, cv {question.size_cv:g}"
            f"{', n+1' if question.spare else ''}"
        )
        print("    " + _told(options, checked, outcome), flush=True)
    return _summed(outcomes)


def _told(options: list[Option], checked: Checked, outcome: Outcome) -> str:
    if checked.counts is None:
        return f"nothing in the catalogue ({checked.runs} runs, {checked.ruled_out} ruled out)"
    fleet = " + ".join(
        f"{n} x [{o.name}]" for o, n in zip(options, checked.counts, strict=True) if n
    )
    first = checked.proposed is not None and cost(options, checked.proposed)
    return (
        f"{fleet}: USD {cost(options, checked.counts):.2f}/h (the model: "
        f"{f'{first:.2f}, {checked.proposed_verdict}' if first else 'none'}); "
        f"{checked.runs} runs, {checked.ruled_out} ruled out, {checked.seconds:.0f} s"
        f"{'' if checked.complete else ', NOT COMPLETE'}; fresh: {outcome.within:.2%} within, "
        f"cheaper {dict(outcome.cheaper)}"
    )


def _summed(outcomes: list[Outcome]) -> int:
    found = [one for one in outcomes if one.found]
    kept = sum(one.kept for one in found)
    better = sum(one.cheaper[Verdict.MEETS] > 0 for one in found)
    unforeseen = sum(one.unforeseen for one in found)
    fleets: Counter[str] = Counter()
    for one in found:
        fleets.update(one.cheaper)
    print(
        f"\n{len(outcomes)} questions, {len(found)} answered, "
        f"{sum(one.complete for one in outcomes)} searched to the end\n"
        f"the model's own fleet met the SLO: {sum(o.proposed == 'meets' for o in outcomes)} of "
        f"{sum(o.proposed != '' for o in outcomes)} proposed\n"
        f"fresh arrivals: the promise held for {kept} of {len(found)}; a cheaper fleet met it for "
        f"{better}, not called borderline by the search before: {unforeseen}\n"
        f"largest cheaper fleets that no bound rules out: {dict(fleets)}"
    )
    return 0 if kept == len(found) and not unforeseen else 1


if __name__ == "__main__":
    sys.exit(main())
