"""Counts of finished calls for a scraper: plain numbers, updated from each call's record.

Label values are bounded: models and pools come from the catalog, outcomes and codes are enums.
After ``SERIES_MAX`` series of one kind, new ones are counted as ``other``. What organisations have
of their own is counted as one model and one pool, ``own``: operators cannot mend it.
"""

from bisect import bisect_left
from collections import Counter

from router.contracts.record import UsageRecord, hedge_ms
from router.domain.catalog import OWN, OWN_MARK
from router.domain.outcome import Outcome
from router.domain.request import Priority
from router.ports.records import Recorder

SERIES_MAX = 10_000
COMPLETED = Outcome.COMPLETED.value
BATCH = Priority.BATCH.value
OTHER = "other"
BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
TOKEN_CLASSES = ("prompt", "cached", "completion", "reasoning")


class Histogram:
    """Observations by bucket (the last one has no upper bound), and their sum in milliseconds."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)
        self.sum_ms = 0.0

    def observe(self, value_ms: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(BUCKETS_MS, value_ms)] += 1
        self.sum_ms += value_ms


class ModelMeters:
    """The counts of one model: ``calls`` by kind, outcome and HTTP status.

    The histograms ``queue``, ``upstream`` and ``ttft`` have only the calls that got that far, and
    ``ttft`` the streams alone that are not of the priority of batches: nobody watches others begin.
    ``inferences`` counts the rows of answered calls, ``unanswered_ms`` is the part of ``total``
    spent on all other calls, and ``last_ms`` is when the newest call began (Unix time).
    """

    __slots__ = (
        "calls",
        "inferences",
        "last_ms",
        "queue",
        "tokens",
        "total",
        "ttft",
        "unanswered_ms",
        "upstream",
    )

    def __init__(self) -> None:
        self.inferences = 0
        self.last_ms = 0
        self.unanswered_ms = 0.0
        self.calls: dict[tuple[str, str, int], int] = {}
        self.tokens = dict.fromkeys(TOKEN_CLASSES, 0)
        self.queue = Histogram()
        self.ttft = Histogram()
        self.upstream = Histogram()
        self.total = Histogram()


class Meters:
    """A recorder that counts each record and passes it on to another recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.admit = recorder.admit
        self._recorder = recorder
        self._series = 0
        self.models: dict[str, ModelMeters] = {}
        self.attempts: Counter[tuple[str, str]] = Counter()
        """By pool and outcome, without the reason of a failure."""
        self.errors: Counter[str] = Counter()
        """Errors returned to clients, by code."""

    def append(self, record: UsageRecord) -> None:
        """See :class:`router.ports.records.Recorder`."""
        self._count(record)
        self._recorder.append(record)

    def _count(self, record: UsageRecord) -> None:
        key = (record.kind, record.outcome, record.http_status)
        name = OWN if record.model[:1] == OWN_MARK else record.model
        model = self.models.get(name)
        if model is None or key not in model.calls:
            model = self._new_series(name, key)
        model.calls[key] += 1
        model.total.observe(record.total_ms)
        model.last_ms = record.created_at_ms
        if record.outcome == COMPLETED:
            model.inferences += record.rows or 1
        else:
            model.unanswered_ms += record.total_ms
        if not record.attempts:
            return
        hedged_ms = hedge_ms(record.attempts, record.worker_id, record.queue_ms)
        model.queue.observe(record.queue_ms - hedged_ms)
        model.upstream.observe(record.upstream_ms)
        for attempt in record.attempts:
            pool = OWN if name == OWN else attempt.pool
            self.attempts[pool, attempt.outcome.partition(":")[0]] += 1
        if record.ttft_ms:
            if record.streamed and record.priority != BATCH:
                model.ttft.observe(record.ttft_ms)
            tokens = model.tokens
            tokens["prompt"] += record.prompt_tokens
            tokens["cached"] += record.cached_tokens
            tokens["completion"] += record.completion_tokens
            tokens["reasoning"] += record.reasoning_tokens

    def _new_series(self, name: str, key: tuple[str, str, int]) -> ModelMeters:
        if self._series >= SERIES_MAX:
            name = OTHER
        self._series += 1
        model = self.models.setdefault(name, ModelMeters())
        model.calls.setdefault(key, 0)
        return model
