"""A benchmark as files, and on the command line."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from tensorboardX.proto.event_pb2 import Event

from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.results import export
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_benchmark_as_json_csv_and_event_files(done: Benchmark, tmp_path: Path) -> None:
    url = f"/api/v1/benchmarks/{done.pk}/export"
    as_json = Client().get(url).json()
    assert [point["load"] for point in as_json["points"]] == [1, 4]
    lines = Client().get(url, {"kind": "csv"}).content.decode().splitlines()
    assert len(lines) == 3
    assert lines[0].split(",")[:3] == ["benchmark", "model", "scenario"]
    archive = zipfile.ZipFile(io.BytesIO(Client().get(url, {"kind": "tensorboard"}).content))
    (name,) = archive.namelist()
    assert name.startswith(f"benchmark-{done.pk}/events.out.tfevents")
    assert b"total_ms/p50" in archive.read(name)
    assert Client().get(url, {"kind": "xls"}).status_code == 400


def test_the_command_lists_shows_exports_and_cancels(
    done: Benchmark, shop: Shop, capsys: Any, tmp_path: Path
) -> None:
    call_command("benchmark", "list")
    call_command("benchmark", "show", str(done.pk))
    said = capsys.readouterr().out
    assert f"#{done.pk}" in said
    assert "knee" in said
    out = tmp_path / "b.csv"
    call_command("benchmark", "export", str(done.pk), "--format", "csv", "--out", str(out))
    assert len(out.read_text().splitlines()) == 3
    call_command("benchmark", "run", shop.model.name, "--route", "--queue", "--loads", "1,2")
    queued = Benchmark.objects.get(state=JobState.QUEUED)
    assert (queued.target, queued.settings["loads"]) == ("route", [1, 2])
    call_command("benchmark", "cancel", str(queued.pk))
    with pytest.raises(CommandError, match="no benchmark 999"):
        call_command("benchmark", "show", "999")
    with pytest.raises(CommandError, match="say what to measure"):
        call_command("benchmark", "run", shop.model.name)


def scalars_of(benchmark: Benchmark, folder: Path) -> list[tuple[int, str, float]]:
    """Step, tag and value of an event file: records of a length, a checksum, bytes, a checksum."""
    export.tensorboard_write(benchmark, folder)
    (path,) = folder.iterdir()
    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        found += [
            (event.step, value.tag, value.simple_value)
            for value in event.summary.value
            if value.HasField("simple_value")
        ]
        data = data[16 + size :]
    return found


def test_steps_of_event_files_are_loads_or_of_rates_places(done: Benchmark, tmp_path: Path) -> None:
    found = scalars_of(done, tmp_path / "whole")
    assert [(step, value) for step, tag, value in found if tag == "load"] == [(1, 1), (4, 4)]
    done.points.filter(load=4).update(load=2.5)
    rates = scalars_of(done, tmp_path / "rates")
    assert [(step, value) for step, tag, value in rates if tag == "load"] == [(1, 1), (2, 2.5)]
