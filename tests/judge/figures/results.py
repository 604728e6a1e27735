"""What callers saw of one target: a record per call, and their summary."""

import re
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from tests.judge.callers.http_client import Answer
from tests.judge.figures.percentiles import mean, percentile
from tests.judge.scenarios import Goal, Scenario
from tests.judge.workers.fleet import Tally

WORKER = re.compile(rb"\b(w\d\d): ")
USAGE = re.compile(rb'"prompt_tokens": ?(\d+).*?"cached_tokens": ?(\d+)')
USAGE_WITHIN = 1_200
"""Bytes at the end of an answer in which its usage is."""
EVENT = b"tok "
LAST_EVENT = b"[DONE]"
TIMEOUT = "timeout"


class Record(Struct, frozen=True, gc=False):
    """One call. Times count from when it was due, not from when it was sent.

    ``first_s`` is 0 where nothing came, ``events`` 0 where it was not streamed.
    """

    due_s: float
    whole_s: float
    first_s: float = 0.0
    error: str = ""
    worker: str = ""
    events: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def event_s(self) -> float:
        """Between two events, on average; 0 where there are none."""
        if self.events < 2 or self.error:
            return 0.0
        return (self.whole_s - self.first_s) / (self.events - 1)

    def meets(self, goal: Goal) -> bool:
        """It was answered, and in time."""
        return (
            not self.error
            and self.whole_s * 1e3 <= goal.whole_ms
            and self.first_s * 1e3 <= goal.first_ms
            and self.event_s * 1e3 <= goal.event_ms
        )


def record_of(answer: Answer, *, due_s: float, start_s: float, events: int) -> Record:
    """Evaluate an answer:

    complete, and from one of the workers. ``due_s`` on the clock, as ``start_s``.
    """
    worker = WORKER.search(answer.body)
    error = answer.error
    if not error and answer.status != 200:
        error = f"http {answer.status}"
    elif not error and worker is None:
        error = "not an answer"
    elif (
        not error
        and events
        and (LAST_EVENT not in answer.body or answer.body.count(EVENT) < events)
    ):
        error = "cut short"
    usage = USAGE.search(answer.body, max(len(answer.body) - USAGE_WITHIN, 0))
    return Record(
        due_s - start_s,
        answer.ended_s - due_s,
        answer.first_s - due_s if answer.first_s else 0.0,
        error,
        worker[1].decode() if worker else "",
        events,
        int(usage[1]) if usage else 0,
        int(usage[2]) if usage else 0,
    )


class Summary(Struct, frozen=True):
    """Of the calls of a while. Times in ms and of the answers, but ``penalised_ms``, in which an
    error counts as a caller's whole patience.
    """

    calls: int
    calls_hz: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    first_ms: float
    first_ms_p99: float
    event_ms: float
    good_share: float
    hit_share: float
    penalised_ms: float
    errors: dict[str, int]

    @property
    def failed(self) -> int:
        """Calls without an answer."""
        return sum(self.errors.values())


def summary(records: Sequence[Record], *, seconds: float, goal: Goal, timeout_s: float) -> Summary:
    """Summarise the calls."""
    answered = [record for record in records if not record.error]
    whole = sorted(record.whole_s for record in answered)
    first = sorted(record.first_s for record in answered)
    prompt = sum(record.prompt_tokens for record in answered)
    penalised = [
        max(record.whole_s, timeout_s) if record.error else record.whole_s for record in records
    ]
    return Summary(
        len(records),
        len(records) / seconds,
        mean(whole) * 1e3,
        percentile(whole, 0.5) * 1e3,
        percentile(whole, 0.9) * 1e3,
        percentile(whole, 0.99) * 1e3,
        mean(first) * 1e3,
        percentile(first, 0.99) * 1e3,
        mean([record.event_s for record in answered if record.event_s]) * 1e3,
        mean([record.meets(goal) for record in records]),
        sum(record.cached_tokens for record in answered) / prompt if prompt else 0.0,
        mean(penalised) * 1e3,
        Counter(record.error for record in records if record.error),
    )


class Result(Struct, frozen=True):
    """One target, one scenario, one seed. ``failed`` says why there is nothing else.

    ``late_ms_p99`` is the lag of the load, ``late_step_ms_p99`` that of the worst engine: what the
    measurement itself adds. ``gateway_us`` is the gateway's CPU time a call.
    """

    scenario: str
    target: str
    seed: int
    at: str
    failed: str = ""
    summary: Summary | None = None
    stages: dict[str, Summary] = {}
    shares: dict[str, float] = {}
    late_ms_p99: float = 0.0
    late_step_ms_p99: float = 0.0
    gateway_us: float = 0.0
    gateway_mib: float = 0.0
    fleet: list[Tally] = []

    @property
    def lag_ms(self) -> float:
        """The worse of its own lags."""
        return max(self.late_ms_p99, self.late_step_ms_p99)


def assessed(
    scenario: Scenario,
    records: Sequence[Record],
    *,
    target: str,
    seed: int,
    at: str,
    late_s: Sequence[float],
    fleet: list[Tally],
    gateway_s: float,
    gateway_mib: float,
) -> Result:
    """What a run comes to. ``gateway_s`` is the gateway's CPU time over all of it."""

    def within(from_s: float, to_s: float) -> list[Record]:
        return [record for record in records if from_s <= record.due_s < to_s]

    def of(from_s: float, to_s: float) -> Summary:
        some, seconds = within(from_s, to_s), to_s - from_s
        return summary(some, seconds=seconds, goal=scenario.goal, timeout_s=scenario.timeout_s)

    counted = scenario.warm_up_s, scenario.seconds
    kinds = {worker.name: worker.hardware.kind for worker in scenario.workers}
    return Result(
        scenario.name,
        target,
        seed,
        at,
        summary=of(*counted),
        stages={name: of(*stage) for name, stage in scenario.stages.items()},
        shares=shares_by_kind(within(*counted), kinds),
        late_ms_p99=percentile(sorted(late_s), 0.99) * 1e3,
        late_step_ms_p99=max(tally.late_ms_p99 for tally in fleet),
        gateway_us=gateway_s / max(len(records), 1) * 1e6,
        gateway_mib=gateway_mib,
        fleet=fleet,
    )


def shares_by_kind(records: Sequence[Record], kinds: dict[str, str]) -> dict[str, float]:
    """How the answered calls were spread over the kinds of workers; ``kinds`` by worker."""
    by_kind = Counter(kinds[record.worker] for record in records if record.worker in kinds)
    return {kind: by_kind[kind] / by_kind.total() for kind in sorted(by_kind)}
