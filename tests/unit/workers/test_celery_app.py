"""What job processes leave for probes."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from celery.signals import heartbeat_sent, import_modules

from workers import celery_app


def test_a_job_process_that_lives_touches_the_file_of_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_app, "RUN", tmp_path / "home" / "run")
    import_modules.send(sender=celery_app.app)
    heartbeat_sent.send(sender=Mock(**{"eventer.hostname": "calls@pod-1"}))
    assert [path.name for path in (tmp_path / "home" / "run").iterdir()] == ["calls.alive"]
