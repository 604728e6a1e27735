"""A fleet file: what was measured of a class is its prior."""

import json
from pathlib import Path

import pytest

from router.adapters.static_fleet import load_fleet
from router.settings import SettingsInvalid


def priors(path: Path, *service_ms: float | None) -> list[float]:
    fleet = [
        {"id": f"w{n}", "url": "http://127.0.0.1:1", "class": kind, "slots": 1}
        | ({} if item is None else {"service_ms": item})
        for n, (item, kind) in enumerate(zip(service_ms, "AAB", strict=True))
    ]
    path.write_text(json.dumps(fleet))
    snapshot = load_fleet(path, key="k", key_pepper=b"p", now_ms=0)
    return [deployment.service_prior_ms for deployment in snapshot.deployments]


def test_workers_of_one_class_share_what_was_measured_of_some(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.json"
    assert priors(fleet, None, None, None) == [0.0, 0.0]
    assert priors(fleet, 10.0, 30.0, 7.0) == [20.0, 7.0]
    assert priors(fleet, None, 30.0, None) == [30.0, 0.0]


def test_a_time_below_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"'w1' needs a service_ms of at least 0 .* not -1"):
        priors(tmp_path / "fleet.json", None, -1.0, None)


def test_a_pool_runs_the_server_that_any_of_its_workers_names(tmp_path: Path) -> None:
    one = {"url": "http://127.0.0.1:1", "class": "A", "slots": 1}
    fleet = [
        {"id": "1"} | one,
        {"id": "2", "engine": "vLLM"} | one,
        {"id": "3"} | one | {"class": "B"},
    ]
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))
    snapshot = load_fleet(path, key="k", key_pepper=b"p", now_ms=0)
    assert [pool.engine for pool in snapshot.pools] == ["vLLM", ""]


def test_ports_of_a_cache_s_events_are_taken_over_and_checked(tmp_path: Path) -> None:
    one = {"id": "1", "url": "http://127.0.0.1:1", "class": "A", "slots": 1}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps([one | {"kv_events_port": 5557, "kv_replay_port": 5558}]))
    (worker,) = load_fleet(path, key="k", key_pepper=b"p", now_ms=0).workers
    assert (worker.kv_events_port, worker.kv_replay_port) == (5557, 5558)
    path.write_text(json.dumps([one | {"kv_events_port": 65_536}]))
    with pytest.raises(SettingsInvalid, match="kv_events_port"):
        load_fleet(path, key="k", key_pepper=b"p", now_ms=0)


def test_a_class_speaks_responses_if_any_of_it_says_so(tmp_path: Path) -> None:
    one = {"url": "http://127.0.0.1:1", "slots": 1}
    fleet = [
        {"id": "1", "class": "A"} | one,
        {"id": "2", "class": "A", "responses": True} | one,
        {"id": "3", "class": "B"} | one,
    ]
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))
    snapshot = load_fleet(path, key="k", key_pepper=b"p", now_ms=0)
    assert [made.parameters for made in snapshot.deployments] == [("responses",), ()]
