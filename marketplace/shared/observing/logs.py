"""Lines of the log, as text or as JSON, with the request or the job that they belong to."""

import json
import logging
from datetime import UTC, datetime

from marketplace.shared.observing.work import work_now

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FORMATS = ("text", "json")


class TextFormatter(logging.Formatter):
    """The ids are at the end of the line, in brackets."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """See :class:`logging.Formatter`."""
        ids = " ".join(f"{name}={value}" for name, value in work_now().known.items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")


class JSONFormatter(logging.Formatter):
    """One object a line, with the keys that the router's lines have (``router/logs.py``)."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **work_now().known,
            **getattr(record, "call", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
