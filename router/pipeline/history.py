"""How each deployment did lately, seen from here: first byte, tokens a second, share that worked.

What a caller's percentile wishes are measured by, and what ``GET /v1/models/…/endpoints`` shows.
Read from the records of finished calls; the newest ``ANSWERS_MAX`` answers and a day of counts are
kept of each deployment. Another router has a history of its own.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from router.contracts.record import UsageRecord
from router.domain.outcome import Outcome
from router.ports import ANSWERED, Recorder

ANSWERS_MAX = 256
ANSWERS_AGE_MAX_S = 30 * 60
COUNT_S = 5 * 60
COUNTS_MAX = 24 * 60 * 60 // COUNT_S
COMPLETED = Outcome.COMPLETED.value
FAILURES = (Outcome.WORKER_FAILED.value, Outcome.TRUNCATED.value)


class History:
    """Of one deployment. ``clock`` gives Unix seconds."""

    __slots__ = ("_answers", "_clock", "_complained", "_counts")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: deque[tuple[float, float, float]] = deque(maxlen=ANSWERS_MAX)
        self._counts: deque[list[int]] = deque(maxlen=COUNTS_MAX)
        self._complained: set[int] = set()

    def answered(self, ended_s: float, first_byte_s: float, tokens_per_s: float) -> None:
        """One whole answer; 0 tokens a second is one without tokens."""
        self._answers.append((ended_s, first_byte_s, tokens_per_s))

    def attempted(self, ended_s: float, worked: bool, tenant: int | None = None) -> None:
        """One attempt that a worker ended, well or badly. ``tenant`` is whose request was answered
        wrongly, which may be its own doing: of those, one in a period counts.
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
        """The time to the first byte that this share of the last answers had at most."""
        return _ranked([first_byte_s for _, first_byte_s, _ in self._recent()], share)

    def tokens_per_s(self, share: float) -> float | None:
        """What this share of the last answers had at least."""
        rates = [-rate for *_, rate in self._recent() if rate]
        slowest = _ranked(rates, share)
        return None if slowest is None else -slowest

    def uptime(self, periods: int) -> float | None:
        """Share of attempts that worked in the last so many times ``COUNT_S``."""
        since = int(self._clock() // COUNT_S) - periods
        counts = [(worked, failed) for period, worked, failed in self._counts if period > since]
        worked, failed = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        return worked / (worked + failed) if worked + failed else None

    def _recent(self) -> list[tuple[float, float, float]]:
        since_s = self._clock() - ANSWERS_AGE_MAX_S
        return [answer for answer in self._answers if answer[0] > since_s]


class Histories:
    """A recorder that notes what passes through it to another one, by deployment id."""

    def __init__(self, recorder: Recorder, *, clock: Callable[[], float]) -> None:
        self.admit = recorder.admit
        self._recorder = recorder
        self._clock = clock
        self._histories: dict[int, History] = {}

    def of(self, deployment_id: int) -> History:
        """An empty one for a deployment that nobody has called yet."""
        history = self._histories.get(deployment_id)
        if history is None:
            history = self._histories[deployment_id] = History(self._clock)
        return history

    def append(self, record: UsageRecord) -> None:
        """See :class:`router.ports.Recorder`."""
        ended_s = (record.created_at_ms + record.total_ms) / 1e3
        for attempt in record.attempts:
            outcome, _, reason = attempt.outcome.partition(":")
            if outcome == COMPLETED or outcome in FAILURES:
                tenant = record.organisation_id if reason.startswith(ANSWERED) else None
                self.of(attempt.deployment_id).attempted(ended_s, outcome == COMPLETED, tenant)
        if record.outcome == COMPLETED and record.upstream_ms:
            tokens = record.completion_tokens + record.reasoning_tokens
            self.of(record.deployment_id).answered(
                ended_s, record.ttft_ms / 1e3, tokens / record.upstream_ms * 1e3
            )
        self._recorder.append(record)


def _ranked(values: Sequence[float], share: float) -> float | None:
    """Nearest rank."""
    return sorted(values)[ceil(share * len(values)) - 1] if values else None
