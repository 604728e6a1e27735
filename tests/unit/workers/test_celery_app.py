"""What job processes leave for probes, and what they tell their children."""

import multiprocessing
from mmap import mmap
from pathlib import Path
from unittest.mock import Mock

import pytest
from celery.signals import heartbeat_sent, import_modules, worker_ready, worker_shutting_down

from marketplace.shared.jobs import leaving
from tests.patience import PATIENCE_S
from workers import celery_app


def test_a_job_process_that_lives_touches_the_file_of_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_app, "RUN", tmp_path / "home" / "run")
    import_modules.send(sender=celery_app.app)
    heartbeat_sent.send(sender=Mock(**{"eventer.hostname": "calls@pod-1"}))
    assert [path.name for path in (tmp_path / "home" / "run").iterdir()] == ["calls.alive"]


def test_a_queue_is_heard_as_soon_as_it_is_worked_on_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, float]] = []

    def send(name: str, *, expires: float, **_: object) -> None:
        sent.append((name, expires))

    monkeypatch.setattr(celery_app.app, "send_task", send)
    consumed = {"calls": object(), "work": object()}
    worker_ready.send(sender=Mock(**{"app.amqp.queues.consume_from": consumed}))
    assert ("operations.beat_of_calls", 30.0) in sent
    assert ("operations.beat_of_work", 30.0) in sent
    assert "operations.beat_of_control" not in dict(sent)


def test_children_see_that_their_job_process_was_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "_told", mmap(-1, 1))
    here, there = multiprocessing.Pipe()

    def child() -> None:
        there.recv()
        there.send(leaving.is_leaving())

    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    assert not leaving.is_leaving()
    worker_shutting_down.send(sender="calls@pod-1", sig="SIGTERM", how="Warm", exitcode=0)
    here.send("now?")
    assert here.poll(PATIENCE_S)
    assert here.recv() is True
    process.join()
