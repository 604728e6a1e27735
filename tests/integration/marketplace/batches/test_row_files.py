"""A file of rows from its columns to its outputs, over a model that a fake router is."""

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from django.test import override_settings

from marketplace.batches.files.services import files_storage
from marketplace.batches.formats import capacity
from marketplace.batches.formats.capacity import rows_asked
from marketplace.batches.models import Batch, BatchKind, BatchStatus
from marketplace.batches.running import sending
from marketplace.benchmarks.models import Benchmark, Profile, Scenario, Target
from marketplace.catalog.models import AIModel
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.batches.desk import asked, read
from tests.integration.marketplace.providers.servers import serving
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db
INFER = "/v2/models/author/slug/infer"
TENSORS = {
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "SUM", "datatype": "FP32", "shape": [-1, 1]}],
}


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    kept_shop.model.task = "tabular"
    kept_shop.model.tensors = TENSORS
    kept_shop.model.save()
    return kept_shop


class Summing:
    """Answers with the sums of rows, as tensors; fails for a call whose first value is -1."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.rows: list[int] = []
        self.lock = threading.Lock()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(INFER, self.infer)
        return app

    async def infer(self, request: web.Request) -> web.Response:
        body = await request.read()
        at = int(request.headers["Inference-Header-Content-Length"])
        (tensor,) = json.loads(body[:at])["inputs"]
        values = np.frombuffer(body[at:], np.float32).reshape(tensor["shape"])
        with self.lock:
            self.calls[request.headers["Idempotency-Key"]] += 1
            self.rows.append(len(values))
        if values[0, 0] == -1:
            return web.json_response({"error": {"code": "x", "message": "no"}}, status=422)
        raw = values.sum(axis=1, keepdims=True).astype(np.float32).tobytes()
        size = {"binary_data_size": len(raw)}
        output = {"name": "SUM", "datatype": "FP32", "shape": [len(values), 1], "parameters": size}
        head = json.dumps({"outputs": [output]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return web.Response(body=head + raw, headers=headers)


@contextmanager
def summing() -> Iterator[Summing]:
    model = Summing()
    with serving(model.app) as url, override_settings(WAYPOST_ROUTER_URL=url):
        yield model


def table(count: int) -> bytes:
    rows = (f"t{number},{number},0.5\n" for number in range(count))
    return ("id,X[1],X[0]\n" + "".join(rows)).encode()


def run(batch: Batch) -> Batch:
    while batch.state in {JobState.QUEUED, JobState.RUNNING}:
        job_run_next(Batch)
        batch.refresh_from_db()
    return batch


def rows_of(batch: Batch) -> list[list[str]]:
    assert batch.output_file is not None
    with files_storage().open(batch.output_file.stored_as) as content:
        return list(csv.reader(io.StringIO(content.read().decode())))


def test_rows_are_packed_and_come_back_in_order_with_their_outputs(shop: Shop) -> None:
    with summing() as model:
        batch = run(asked(shop, table(2_000), endpoint=INFER))
    assert (batch.kind, batch.status) == (BatchKind.ROWS, BatchStatus.COMPLETED)
    assert (batch.total, batch.completed, batch.failed) == (2_000, 2_000, 0)
    header, *rows = rows_of(batch)
    assert header == ["id", "X[1]", "X[0]", "SUM"]
    assert [row[0] for row in rows] == [f"t{number}" for number in range(2_000)]
    assert [float(row[3]) for row in rows] == [number + 0.5 for number in range(2_000)]
    assert sum(model.rows) == 2_000
    assert max(model.rows) == 250
    assert min(model.rows) <= 32
    assert set(model.calls.values()) == {1}
    assert batch.output_file is not None
    assert batch.output_file.filename.endswith("_output.csv")


def test_rows_go_on_after_a_turn_with_the_same_pieces(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = sending.Sender._reason

    def reason(sender: sending.Sender) -> Any:
        over = len(sender._finished.results) >= 5
        return sending.Ending.TURN if over else begin(sender)

    monkeypatch.setattr(sending.Sender, "_reason", reason)
    with summing() as model:
        batch = run(asked(shop, table(3_000), endpoint=INFER))
    assert (batch.completed, batch.status) == (3_000, BatchStatus.COMPLETED)
    assert [row[0] for row in rows_of(batch)[1:]] == [f"t{number}" for number in range(3_000)]
    assert set(model.calls.values()) == {1}


def test_a_piece_that_fails_is_one_line_of_the_error_file_and_counts_its_rows(shop: Shop) -> None:
    content = table(600).replace(b"t0,0,0.5", b"t0,0,-1")
    with summing():
        batch = run(asked(shop, content, endpoint=INFER))
    (failed,) = read(batch.error_file)
    assert failed["custom_id"].startswith("rows 1-")
    assert batch.failed == int(failed["custom_id"].removeprefix("rows 1-"))
    assert batch.completed == 600 - batch.failed
    assert [row[0] for row in rows_of(batch)[1:]] == [f"t{n}" for n in range(batch.failed, 600)]


def test_rows_with_errors_are_told_by_line(shop: Shop) -> None:
    content = table(3) + b"t3,1\nt4,x,1\nt5,1,1\n"
    batch = run(asked(shop, content, endpoint=INFER))
    assert batch.status == BatchStatus.FAILED
    assert [(error["line"], error["code"]) for error in batch.errors] == [
        (5, "invalid_row"),
        (6, "invalid_row"),
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"id,X[0]\n1,2\n", "invalid_header"), (b"X[0],X[1]\n", "empty_file")],
)
def test_a_broken_table_says_so(shop: Shop, content: bytes, code: str) -> None:
    batch = run(asked(shop, content, endpoint=INFER))
    assert [error["code"] for error in batch.errors] == [code]


def piece_rows(name: str, rows_max: int = 0) -> int:
    bound = {"maxItems": rows_max} if rows_max else {}
    schema = {"properties": {"X": {"type": "array", **bound}, "y": {"maxItems": 2}}}
    return capacity.piece_rows(AIModel(name=name, tensors=TENSORS, input_schema=schema))


def test_a_piece_is_as_long_as_was_measured_to_be_best() -> None:
    def best(model: str, **_: Any) -> int:
        return {"a/b": 64, "a/c": 10**6}.get(model, 0)

    rows_asked.connect(best)
    try:
        assert piece_rows("a/b") == 64
        assert piece_rows("a/c") == 4_096
        assert piece_rows("a/d") == 256
        assert piece_rows("a/d", 1_000) == 1_000, "as many as its schema allows"
        assert piece_rows("a/b", 1_000) == 64, "what was measured counts more"
        assert piece_rows("a/c", 1_000) == 1_000, "and never more than it takes"
    finally:
        rows_asked.disconnect(best)


def test_benchmarks_tell_which_size_of_a_call_is_best(shop: Shop) -> None:
    def measured(rows: int, throughput_hz: float) -> None:
        benchmark = Benchmark.objects.create(
            model=shop.model,
            target=Target.DEPLOYMENT,
            deployment=shop.deployment,
            scenario=Scenario.OFFLINE,
            settings={"rows": rows},
        )
        Profile.objects.create(
            deployment=shop.deployment,
            service_ms=1.0,
            throughput_hz=throughput_hz,
            benchmark=benchmark,
            source="here",
        )

    measured(16, 100.0)
    assert capacity.piece_rows(shop.model) == 256, "nothing to compare it with"
    measured(512, 10.0)
    measured(1_024, 4.0)
    assert capacity.piece_rows(shop.model) == 512
