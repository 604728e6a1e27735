"""Published MLPerf Inference results: what hardware that nobody here has was shown to do.

``published.json`` holds figures of submitters' own log summaries, each with the address where it
was read. Nothing in it was measured here.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from marketplace.planning.advisor.fleets.option import Evidence, Option, kind_of
from marketplace.planning.advisor.question import Question

FILE = Path(__file__).with_name("published.json")
PREFIX = "mlperf/"
MODELS = {
    "emulated/llama-2-70b-chat": "llama2-70b-99.9",
    "emulated/mixtral-8x7b-instruct": "mixtral-8x7b",
    "emulated/gpt-j-6b": "gptj-99",
    "emulated/resnet-50": "resnet50",
}
"""Models of the catalog that MLPerf has measured elsewhere, by its name for them."""


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """One system's run in the server scenario (Poisson arrivals under MLPerf's limit of
    latency).
    """

    benchmark: str
    scenario: str
    accelerator: str
    chips: int
    system: str
    submitter: str
    availability: str
    samples_per_s: float
    tokens_per_s: float
    mean_latency_ms: float
    p99_latency_ms: float
    url: str


class Results(Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    round: str
    published: str
    read: str
    results: tuple[Result, ...]


@cache
def results() -> Results:
    """The file, read once."""
    return msgspec.json.decode(FILE.read_bytes(), type=Results)


def benchmarks() -> list[str]:
    """What can be asked about by MLPerf's names alone, as ``mlperf/<benchmark>``."""
    return sorted({PREFIX + result.benchmark for result in results().results})


def published_options(question: Question) -> list[Option]:
    """Systems that were measured on the asked model.

    Each was published at one load. Calls are taken to be as slow at any other, and as many run at
    once as did there (Little's law: rate times mean latency). Where tokens were counted, time
    scales with the completion tokens. Otherwise the sizes are the benchmark's own.
    """
    wanted = MODELS.get(question.model, question.model.removeprefix(PREFIX))
    every = results()
    published_at = datetime.fromisoformat(every.published).replace(tzinfo=UTC)
    options: list[Option] = []
    for result in every.results:
        if result.benchmark != wanted:
            continue
        hardware = f"{result.chips} × {result.accelerator}"
        tokens = result.tokens_per_s / result.samples_per_s
        scale = question.completion_tokens / tokens if tokens else 1.0
        options.append(
            Option(
                name=f"{hardware} ({result.submitter})",
                hardware=hardware,
                kind=kind_of(result.accelerator),
                chips=result.chips,
                region="",
                service_ms=result.mean_latency_ms * scale,
                slots=max(int(result.samples_per_s * result.mean_latency_ms / 1e3), 1),
                evidence=Evidence.PUBLISHED,
                source=f"MLPerf Inference {every.round}, {result.benchmark}, {result.scenario}, "
                f"{result.submitter}: {result.system} ({result.availability})",
                source_url=result.url,
                measured_at=published_at,
                mix_fits=bool(tokens),
            )
        )
    return options
