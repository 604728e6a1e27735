"""How each deployment did lately, as this router saw it: first byte, tokens a second, uptime.

Percentile wishes of callers are checked against it, and ``GET /v1/models/…/endpoints`` shows it. It
is made from the records of finished calls. Each deployment keeps its newest ``ANSWERS_MAX`` answers
and a day of counts. Every router has its own history.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from router.contracts.record import UsageRecord
from router.domain.outcome import Outcome
from router.domain.protocols import KINDS
from router.domain.request import Kind, Priority
from router.ports.records import Recorder
from router.ports.upstream import ANSWERED

ANSWERS_MAX = 256
ANSWERS_AGE_MAX_S = 30 * 60
COUNT_S = 5 * 60
COUNTS_MAX = 24 * 60 * 60 // COUNT_S
COMPLETED = Outcome.COMPLETED.value
FAILURES = (Outcome.WORKER_FAILED.value, Outcome.TRUNCATED.value)


class History:
    """The history of one deployment. ``clock`` gives Unix seconds."""

    __slots__ = ("_answers", "_clock", "_complained", "_counts")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: deque[tuple[float, float, float]] = deque(maxlen=ANSWERS_MAX)
        self._counts: deque[list[int]] = deque(maxlen=COUNTS_MAX)
        self._complained: set[int] = set()

    def answered(self, ended_s: float, first_byte_s: float, tokens_per_s: float) -> None:
        """Note one answer; 0 seconds or tokens a second mean that it says nothing of them."""
        self._answers.append((ended_s, first_byte_s, tokens_per_s))

    def attempted(self, ended_s: float, worked: bool, tenant: int | None = None) -> None:
        """Note one attempt that a worker ended, well or badly.

        ``tenant`` is the organisation whose request got a wrong answer. The request itself may be
        the cause, so each period counts one of those per tenant.
        """
        period = int(ended_s // COUNT_S)
        counts = self._counts
        if not counts or counts[-1][0] < period:
            counts.append([period, 0, 0])
            self._complained.clear()
        if tenant is not None and not worked:
            if tenant in self._complained:
                return
            self._complained.add(tenant)
        counts[-1][1 if worked else 2] += 1

    def latency_s(self, share: float) -> float | None:
        """The longest time to the first byte among this share of the latest answers."""
        return _ranked([first_s for _, first_s, _ in self._recent() if first_s], share)

    def tokens_per_s(self, share: float) -> float | None:
        """The lowest tokens a second among this share of the latest answers."""
        rates = [-rate for *_, rate in self._recent() if rate]
        slowest = _ranked(rates, share)
        return None if slowest is None else -slowest

    def uptime(self, periods: int) -> float | None:
        """The share of attempts that worked in this many of the latest periods of ``COUNT_S``."""
        since = int(self._clock() // COUNT_S) - periods
        counts = [(worked, failed) for period, worked, failed in self._counts if period > since]
        worked, failed = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        return worked / (worked + failed) if worked + failed else None

    def _recent(self) -> list[tuple[float, float, float]]:
        since_s = self._clock() - ANSWERS_AGE_MAX_S
        return [answer for answer in self._answers if answer[0] > since_s]


class Histories:
    """A recorder that notes each record by deployment id and passes it on to another recorder."""

    def __init__(self, recorder: Recorder, *, clock: Callable[[], float]) -> None:
        self.admit = recorder.admit
        self._recorder = recorder
        self._clock = clock
        self._histories: dict[int, History] = {}

    def of(self, deployment_id: int) -> History:
        """The history of a deployment, empty if nobody has called it yet."""
        history = self._histories.get(deployment_id)
        if history is None:
            history = self._histories[deployment_id] = History(self._clock)
        return history

    def append(self, record: UsageRecord) -> None:
        """See :class:`router.ports.records.Recorder`."""
        ended_s = (record.created_at_ms + record.total_ms) / 1e3
        for attempt in record.attempts:
            outcome, _, reason = attempt.outcome.partition(":")
            if outcome == COMPLETED or outcome in FAILURES:
                tenant = record.organisation_id if reason.startswith(ANSWERED) else None
                self.of(attempt.deployment_id).attempted(ended_s, outcome == COMPLETED, tenant)
        if record.outcome == COMPLETED and record.upstream_ms:
            tokens = record.completion_tokens + record.reasoning_tokens
            # A generated answer that comes whole has its first byte at its end, and a batch waits
            # for everybody else: neither says how long a stream takes to begin.
            begins = record.streamed or not KINDS[Kind(record.kind)].generates
            is_timed = begins and record.priority != Priority.BATCH
            first_byte_s = record.ttft_ms / 1e3 if is_timed else 0.0
            self.of(record.deployment_id).answered(
                ended_s, first_byte_s, tokens / record.upstream_ms * 1e3
            )
        self._recorder.append(record)


def _ranked(values: Sequence[float], share: float) -> float | None:
    """The value at a share of the sorted values, by nearest rank."""
    return sorted(values)[ceil(share * len(values)) - 1] if values else None
