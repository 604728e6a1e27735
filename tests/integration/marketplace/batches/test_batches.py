"""A batch from its file to its files, over a router that answers as the test says."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from marketplace.batches.files.services import file_delete
from marketplace.batches.formats.capacity import window_of
from marketplace.batches.models import Batch, BatchPart, BatchStatus, File
from marketplace.batches.running import job as running
from marketplace.batches.running import sending
from marketplace.batches.running.cleaning import DELIVERED_WITHIN, parts_clear
from marketplace.batches.services import BatchRefused, batch_cancel, batch_create
from marketplace.batches.tasks import ATTEMPTS_MAX, clear_parts, deliver_parts
from marketplace.presets.services import preset_save
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import LOST_AFTER, job_claim, job_run_next, jobs_sweep
from tests.integration.marketplace.batches.desk import (
    asked,
    caller_of,
    chat_lines,
    hello,
    read,
    routed,
    uploaded,
)
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def run(batch: Batch) -> Batch:
    assert job_run_next(Batch) == batch
    batch.refresh_from_db()
    return batch


def run_until_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch loses its process when its results are to be delivered."""

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(running, "deliver", die)
        with pytest.raises(SystemExit):
            job_run_next(Batch)


def lose(batch: Batch) -> None:
    """Its process is gone, and somebody has noticed."""
    long_ago = timezone.now() - LOST_AFTER - timedelta(seconds=1)
    Batch.objects.filter(pk=batch.pk).update(heartbeat_at=long_ago)
    assert jobs_sweep() == 1


def custom_ids(lines: list[dict[str, Any]]) -> set[str]:
    return {line["custom_id"] for line in lines}


def test_every_line_is_answered_once_at_batch_priority_and_delivered(
    shop: Shop, files_folder: Path
) -> None:
    with routed() as router:
        batch = run(asked(shop, chat_lines(20), metadata={"night": "1"}))
    assert (batch.status, batch.state) == (BatchStatus.COMPLETED, JobState.SUCCEEDED)
    assert (batch.total, batch.completed, batch.failed) == (20, 20, 0)
    assert set(router.ran.values()) == {1}
    assert router.ran.keys() == {f"{batch.public_id}:{number}" for number in range(1, 21)}
    assert {headers["x-route-priority"] for headers in router.headers} == {"batch"}
    assert all("authorization" in headers for headers in router.headers)
    output = read(batch.output_file)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 21)]
    answer = output[6]["response"]["body"]["choices"][0]["message"]["content"]
    assert answer == "hello 7"
    assert batch.error_file is None
    assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at  # type: ignore[operator]
    assert parts_clear() == 1
    assert not BatchPart.objects.exists()
    assert len([path for path in files_folder.rglob("*") if path.is_file()]) == 2


def test_lines_that_fail_are_in_the_error_file(shop: Shop) -> None:
    def says(line: str) -> tuple[int, dict[str, Any]]:
        if line == "3":
            return 422, {"error": {"code": "invalid_request", "message": "No."}}
        return hello(line)

    with routed(says):
        batch = run(asked(shop, chat_lines(5)))
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 4, 1)
    assert custom_ids(read(batch.output_file)) == {f"line-{n}" for n in (1, 2, 4, 5)}
    (failed,) = read(batch.error_file)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("line-3", 422)


def test_a_file_with_errors_is_not_begun(shop: Shop) -> None:
    content = chat_lines(16) + b"{\n" + chat_lines(1, custom_id="x", method="GET")
    with routed() as router:
        batch = run(asked(shop, content))
    assert (batch.status, batch.state) == (BatchStatus.FAILED, JobState.FAILED)
    assert [(error["line"], error["code"]) for error in batch.errors] == [
        (17, "invalid_json_line"),
        (18, "invalid_method"),
    ]
    assert batch.failed_at is not None
    assert not router.headers


def test_a_file_with_errors_is_not_begun_by_who_takes_over(shop: Shop) -> None:
    batch = asked(shop, chat_lines(2, custom_id="twice"))
    errors = [{"code": "duplicate_custom_id", "message": "Twice.", "line": 2, "param": None}]
    Batch.objects.update(status=BatchStatus.FAILED, failed_at=timezone.now(), errors=errors)
    with routed() as router:
        run(batch)
    assert (batch.status, batch.state, batch.errors) == ("failed", JobState.FAILED, errors)
    assert not router.headers


def test_credit_that_runs_out_keeps_what_was_done(shop: Shop) -> None:
    def says(line: str) -> tuple[int, dict[str, Any]]:
        if int(line) > 6:
            return 402, {"error": {"code": "insufficient_credit", "message": "No credit."}}
        return hello(line)

    with routed(says):
        batch = run(asked(shop, chat_lines(40)))
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 6, 34)
    failed = read(batch.error_file)
    assert custom_ids(failed) == {f"line-{n}" for n in range(7, 41)}
    codes = [
        line["error"]["code"] if line["error"] else line["response"]["body"]["error"]["code"]
        for line in failed
    ]
    assert set(codes) == {"insufficient_credit"}


def test_lines_may_leave_the_model_to_the_router_or_to_a_preset(shop: Shop) -> None:
    with routed() as router:
        chosen = run(asked(shop, chat_lines(2, model="auto")))
        preset_save(organisation=shop.organisation, name="brief", model="author/slug:floor")
        preset = run(asked(shop, chat_lines(2, model="@preset/brief")))
        refused = run(asked(shop, chat_lines(1, model="@preset/long")))
    assert (chosen.completed, preset.completed, len(router.ran)) == (2, 2, 4)
    assert (chosen.model_names, preset.model_names) == (["auto"], ["author/slug"])
    assert window_of(chosen) == window_of(preset) > 1, "auto has the workers of all chats"
    assert [error["code"] for error in refused.errors] == ["preset_not_found"]


def test_a_batch_past_its_window_expires_and_delivers_what_it_has(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = asked(shop, chat_lines(9))
    monkeypatch.setattr(sending, "TURN_S", 0.0)
    with routed() as router:
        Batch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        run(batch)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.EXPIRED, 0, 9)
    assert {line["error"]["code"] for line in read(batch.error_file)} == {"batch_expired"}
    assert not router.headers


def test_an_expired_batch_that_is_taken_over_is_expired(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = asked(shop, chat_lines(3))
    Batch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with routed():
        run_until_it_dies(monkeypatch)
        lose(batch)
        run(batch)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.EXPIRED, 0, 3)
    assert len(read(batch.error_file)) == 3


def test_a_batch_takes_turns_and_answers_each_line_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = asked(shop, chat_lines(10)), asked(shop, chat_lines(1))
    begin = sending.Sender._reason

    def reason(sender: sending.Sender) -> Any:
        # A turn is three lines long.
        over = len(sender._finished.results) >= 3
        return sending.Ending.TURN if over else begin(sender)

    monkeypatch.setattr(sending.Sender, "_reason", reason)
    with routed() as router:
        ran = []
        while job := job_run_next(Batch):
            ran.append(job.pk)
    assert ran[:3] == [first.pk, second.pk, first.pk]
    first.refresh_from_db()
    assert (first.status, first.completed) == (BatchStatus.COMPLETED, 10)
    assert set(router.ran.values()) == {1}
    assert len(router.ran) == 11


def test_a_batch_that_waits_is_cancelled_at_once(shop: Shop) -> None:
    batch = batch_cancel(batch=asked(shop, chat_lines(2)))
    assert (batch.status, batch.state) == (BatchStatus.CANCELLED, JobState.CANCELLED)
    assert job_run_next(Batch) is None
    assert batch_cancel(batch=batch).status == BatchStatus.CANCELLED


def test_a_batch_that_is_cancelled_amid_its_check_stays_so_for_who_takes_over(shop: Shop) -> None:
    batch = asked(shop, b"{\n")
    job_claim(job_kinds[Batch])
    assert batch_cancel(batch=batch).status == BatchStatus.CANCELLING
    lose(batch)
    run(batch)
    assert (batch.status, batch.errors) == (BatchStatus.CANCELLED, [])


def test_a_batch_that_is_cancelled_delivers_what_it_has(shop: Shop) -> None:
    batch = asked(shop, chat_lines(400))

    def says(line: str) -> tuple[int, dict[str, Any]]:
        return hello(line)

    look = running.window_of

    def cancel(row: Batch) -> int:
        if BatchPart.objects.exists():
            batch_cancel(batch=batch)
        return look(row)

    with pytest.MonkeyPatch.context() as patch, routed(says) as router:
        patch.setattr(running, "window_of", cancel)
        patch.setattr(sending, "PART_ITEMS", 5)
        patch.setattr(sending, "LOOK_S", 0.0)
        run(batch)
    assert batch.status == BatchStatus.CANCELLED
    assert 5 <= batch.completed < 400
    assert len(read(batch.output_file)) == batch.completed == len(router.ran)
    assert batch.cancelling_at <= batch.cancelled_at  # type: ignore[operator]
    assert batch_cancel(batch=batch).status == BatchStatus.CANCELLED


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def write() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise OperationalError("away")
        return 7

    monkeypatch.setattr(running.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(running, "_in_transaction", lambda: False)
    monkeypatch.setattr(running, "_reconnect", lambda: None)
    assert running.patiently(write) == 7


def test_a_batch_whose_work_breaks_delivers_what_it_has(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = asked(shop, chat_lines(3))
    ended = running._ended
    monkeypatch.setattr(running, "_ended", lambda *args: ended(*args)["nothing of that name"])
    with routed():
        run(batch)
    assert (batch.status, batch.state) == (BatchStatus.FAILED, JobState.FAILED)
    assert batch.errors[0]["code"] == "internal_error"
    assert len(read(batch.output_file)) == 3


@pytest.fixture
def lost(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """All of its lines were answered, and its process was lost for the last time."""
    batch = asked(shop, chat_lines(3))
    with routed():
        run_until_it_dies(monkeypatch)
    Batch.objects.update(attempts=ATTEMPTS_MAX)
    lose(batch)
    batch.refresh_from_db()
    assert (batch.status, batch.state) == (BatchStatus.FAILED, JobState.FAILED)
    assert (batch.output_file, batch.error_file) == (None, None)
    return batch


def test_a_batch_that_is_lost_for_good_delivers_what_it_has(lost: Batch) -> None:
    assert clear_parts() == 0
    assert deliver_parts() == 1
    lost.refresh_from_db()
    assert custom_ids(read(lost.output_file)) == {"line-1", "line-2", "line-3"}
    assert (lost.status, lost.completed) == (BatchStatus.FAILED, 3)
    assert deliver_parts() == 0
    assert clear_parts() == 1
    assert not BatchPart.objects.exists()


def test_results_that_were_delivered_and_deleted_do_not_come_again(lost: Batch) -> None:
    assert deliver_parts() == 1
    lost.refresh_from_db()
    assert lost.output_file is not None
    file_delete(file=lost.output_file)
    assert deliver_parts() == 0
    assert File.objects.get() == lost.input_file


def test_results_that_cannot_be_delivered_are_kept_for_a_day(lost: Batch) -> None:
    file_delete(file=lost.input_file)
    assert (deliver_parts(), clear_parts()) == (0, 0)
    Batch.objects.update(ended_at=timezone.now() - DELIVERED_WITHIN)
    assert (deliver_parts(), clear_parts()) == (0, 1)


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"input_file_id": "file-none"}, "input_file_id"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(
    shop: Shop, wishes: dict[str, Any], param: str
) -> None:
    file = uploaded(shop, chat_lines(1))
    usual = {"input_file_id": file.public_id, "endpoint": "/v1/embeddings"}
    with pytest.raises(BatchRefused) as refused:
        batch_create(caller=caller_of(shop), **{**usual, **wishes})
    assert refused.value.param == param


def test_lines_of_a_key_with_models_are_for_those_only(shop: Shop) -> None:
    caller = caller_of(shop)
    shop.organisation.api_keys.filter(pk=caller.key_id).update(models_allowed=["author/other"])
    batch = run(asked(shop, chat_lines(1)))
    assert [error["code"] for error in batch.errors] == ["model_not_allowed"]
    assert json.dumps(batch.errors)
