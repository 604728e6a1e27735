"""Options that are LLM engines: what the queueing model and the simulator take of them. Pure.

A call on an engine slows those beside it, prompts hold up answers, and what runs must fit into the
KV cache. The question's spread of sizes is that of the answers' lengths; all prompts are alike.
"""

from collections.abc import Iterator, Sequence
from math import ceil, inf
from random import Random

import msgspec

from marketplace.benchmarks.profiles.engine_figures import EngineFigures
from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.program import Counts
from marketplace.planning.advisor.fleets.queueing import NETWORK_MS
from marketplace.planning.advisor.question import Question
from marketplace.planning.engine_specs import (
    CLIENT_TIMEOUT_S,
    NO_LOAD,
    fixed_s,
    spec_of,
)
from router.domain.catalog import EngineCurve
from router.simulator.engines.kv_cache import BLOCK_TOKENS
from router.simulator.engines.scenarios import EngineScenario
from router.simulator.engines.scheduled import Scheduled
from router.simulator.engines.sessions import Session, alone
from router.simulator.engines.simulation import EngineResult, simulate_engines
from router.simulator.slots.simulation import Result
from router.simulator.workload import Sizes, poisson

EVENTS_MEAN = 32
"""The tokens of longer answers are simulated several at a time, so that a mean answer has so many
events and a run does not take longer where answers are longer.
"""


def as_engine(option: Option, figures: EngineFigures, sequences: int, question: Question) -> Option:
    """The option with the times of the asked mix, alone and by how many run at once.

    Of ``sequences`` calls as many run as the cache has room for. A running answer is longer than
    the mean one, as longer ones run for longer.
    """
    prompt, answer = question.prompt_tokens, question.completion_tokens
    held = prompt + answer * (1 + question.size_cv**2) / 2
    fit = int(figures.kv_tokens / held) if figures.kv_tokens else sequences
    at_once = max(min(sequences, fit), 1)
    alone_s, full_s = (figures.call_s(prompt, answer, n, held) for n in (1, at_once))
    # Prompts of others come between an answer's steps, so they go with its length too.
    own_prompt_s = figures.call_s(prompt, 1, 1, held)
    return msgspec.structs.replace(
        option,
        service_ms=alone_s * 1e3,
        slots=at_once,
        batch_curve=((at_once, full_s / alone_s),) if at_once > 1 else (),
        varying=1 - own_prompt_s / alone_s,
        engine=figures,
        sequences=sequences,
        has_room=fit >= 1,
        mix_fits=option.mix_fits or figures.first.told[2],
    )


def are_engines(options: Sequence[Option]) -> bool:
    """Whether there are some, and all are known as engines."""
    return bool(options) and all(option.engine is not None for option in options)


def engine_results(
    options: Sequence[Option], counts: Counts, question: Question, *, seed: int, calls: int
) -> list[Result]:
    """So many calls at the peak rate, on engines behind the real scheduler; it has their figures.

    Raises ``ValueError`` for an option that is no engine.
    """
    event_tokens = max(1, round(question.completion_tokens / EVENTS_MEAN))
    figures = [_figures(o) if n else None for o, n in zip(options, counts, strict=True)]
    engines = tuple(
        spec_of(
            known,
            name=f"{number}-{copy}",
            kind=str(number),
            sequences_max=option.sequences,
            event_tokens=event_tokens,
            kv_tokens_min=ceil(question.prompt_tokens) + 2 * event_tokens,
        )
        for number, (option, known, count) in enumerate(zip(options, figures, counts, strict=True))
        if known is not None
        for copy in range(count)
    )
    added_s = [(fixed_s(known) if known else 0.0) + NETWORK_MS / 1e3 for known in figures]
    curves: dict[str, EngineCurve] = {str(n): f.curve for n, f in enumerate(figures) if f}
    room = min(spec.kv_tokens for spec in engines)
    scenario = EngineScenario(
        "advice", "", engines, NO_LOAD, inf, client_timeout_s=CLIENT_TIMEOUT_S
    )
    placer = Scheduled(seed=seed, engine="vLLM", curves=curves)
    sessions = list(_sessions(question, seed, calls, event_tokens, room))

    def result(made: EngineResult) -> Result:
        if made.engine < 0:
            return Result(made.at_s, made.latency_s, error=made.error, queue_s=made.queue_s)
        spec = engines[made.engine]
        return Result(
            made.at_s,
            made.latency_s + added_s[int(spec.kind)],
            spec.name,
            error=made.error,
            queue_s=made.queue_s,
        )

    return [result(made) for made in simulate_engines(scenario, placer, seed, sessions)]


def _sessions(
    question: Question, seed: int, calls: int, event_tokens: int, room: int
) -> Iterator[Session]:
    """Single calls. An answer is cut where it would not fit into the smallest cache."""
    arrivals = poisson(question.peak_hz, Sizes(question.size_cv)).arrivals(Random(f"advice-{seed}"))
    prompt = ceil(question.prompt_tokens)
    most = max((room - prompt - BLOCK_TOKENS) // event_tokens, 1)
    for number, arrival in zip(range(calls), arrivals, strict=False):
        tokens = question.completion_tokens * arrival.size
        events = min(max(round(tokens / event_tokens), 1), most)
        yield alone(number, arrival.at_s, prompt, events, shared=0, shared_tokens=0)


def _figures(option: Option) -> EngineFigures:
    if option.engine is None:
        raise ValueError(f"{option.name} is not known as an engine")
    return option.engine
