"""The router's log: lines of text or JSON, never with a prompt or a credential."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from router.contracts.record import UsageRecord
from router.domain.tracing import span_ids
from router.ports.records import Recorder
from router.settings import SettingsInvalid

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
FORMATS = ("text", "json")

log = logging.getLogger("router.calls")


class JSONFormatter(logging.Formatter):
    """One object per line: time (RFC 3339, UTC), level, logger, message, and ``extra`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "call", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def configure_logs(env: Mapping[str, str]) -> None:
    """Set up logging. Raises :class:`router.settings.SettingsInvalid`."""
    shape, level = env.get("ROUTER_LOG_FORMAT", "text"), env.get("ROUTER_LOG_LEVEL", "INFO")
    if shape not in FORMATS:
        raise SettingsInvalid(f"ROUTER_LOG_FORMAT={shape!r} is not known; use text or json")
    if level not in logging.getLevelNamesMapping():
        raise SettingsInvalid(f"ROUTER_LOG_LEVEL={level!r} is not a level of Python's logging")
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if shape == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class CallLog:
    """A recorder that logs each finished call and passes it on to another recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.admit = recorder.admit
        self._recorder = recorder

    def append(self, record: UsageRecord) -> None:
        """See :class:`router.ports.records.Recorder`."""
        self._recorder.append(record)
        ids = span_ids(record.traceparent)
        fields = {
            "request_id": record.request_id,
            **({"trace_id": ids.trace_id} if ids else {}),
            "organisation_id": record.organisation_id,
            "key_id": record.key_id,
            "model": record.model,
            "kind": record.kind,
            "outcome": record.outcome,
            "status": record.http_status,
            "worker": record.worker_id,
            "attempts": len(record.attempts),
            "queue_ms": record.queue_ms,
            "total_ms": record.total_ms,
            "charge_nano": record.charge_nano,
        }
        log.info(
            "%s %s %s %d in %.1f ms",
            *(record.request_id, record.model, record.outcome, record.http_status, record.total_ms),
            extra={"call": fields},
        )
