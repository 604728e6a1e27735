"""The embedded Valkey answers only to who has its password."""

import subprocess
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.services.valkey import Valkey
from tests.embedded import wait_until
from tests.patience import PATIENCE_S
from tests.ports import free_ports


@pytest.mark.parametrize("password", ["plain", 'with "quotes", a \\ and @:/ %41'])
def test_only_who_has_the_password_may_queue_jobs(tmp_path: Path, password: str) -> None:
    (port,) = free_ports(1)
    valkey = Valkey(tmp_path / "valkey", port, password, durable=False)
    valkey.prepare()
    assert (valkey.folder / "valkey.conf").stat().st_mode & 0o077 == 0
    assert password not in " ".join(valkey.argv)
    process = subprocess.Popen(valkey.argv, stdout=subprocess.DEVNULL)
    try:
        wait_until(valkey.is_ready, PATIENCE_S, "Valkey did not become ready")
        assert redis.Redis.from_url(valkey.url).lpush("control", "a job") == 1
        for wrong in (None, "another"):
            # By itself it tries again for seconds.
            stranger = redis.Redis(port=port, password=wrong, retry=Retry(NoBackoff(), 0))
            with pytest.raises(redis.AuthenticationError):
                stranger.lpush("control", "a job")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
