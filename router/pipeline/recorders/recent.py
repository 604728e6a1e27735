"""The latest finished calls by id, to answer for a call before it has reached the ledger."""

from collections import OrderedDict

from router.contracts.record import UsageRecord
from router.ports.records import Recorder

RECENT_MAX = 2_000


class RecentCalls:
    """A recorder that remembers each record and passes it on to another recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.admit = recorder.admit
        self._recorder = recorder
        self._records: OrderedDict[str, UsageRecord] = OrderedDict()

    def append(self, record: UsageRecord) -> None:
        """See :class:`router.ports.records.Recorder`."""
        self._records[record.request_id] = record
        if len(self._records) > RECENT_MAX:
            self._records.popitem(last=False)
        self._recorder.append(record)

    def get(self, request_id: str) -> UsageRecord | None:
        """A call that ended here recently."""
        return self._records.get(request_id)
