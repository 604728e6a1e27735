"""Lines of the log say what they belong to."""

import json
import logging

from marketplace.shared.observing.logs import JSONFormatter, TextFormatter
from marketplace.shared.observing.work import Work, working

WORK = Work(request_id="0193-a", trace_id="ab" * 16)


def line(formatter: logging.Formatter, **extra: object) -> str:
    record = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "msg": "sold", **extra})
    return formatter.format(record)


def test_a_line_of_text_ends_with_the_ids_that_there_are() -> None:
    assert line(TextFormatter()).endswith("INFO shop: sold")
    with working(WORK):
        assert line(TextFormatter()).endswith(f"sold [request_id=0193-a trace_id={'ab' * 16}]")
        with working(Work(job="shop.Order 3")):
            assert line(TextFormatter()).endswith("sold [job=shop.Order 3]")
    assert line(TextFormatter()).endswith("sold"), "it is over"


def test_a_line_of_json_has_them_as_keys() -> None:
    with working(WORK):
        found = json.loads(line(JSONFormatter(), call={"status": 200}))
    time = found.pop("time")
    assert time.endswith("+00:00")
    assert found == {
        "level": "info",
        "logger": "shop",
        "message": "sold",
        "request_id": "0193-a",
        "trace_id": "ab" * 16,
        "status": 200,
    }
