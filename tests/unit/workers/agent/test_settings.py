"""The agent's valid settings, and what it refuses in one line."""

from pathlib import Path

import pytest

from workers.agent.agent import advertised
from workers.agent.settings import SettingsWrong, settings_read

WORDS = ["--marketplace", "https://example.com/", "--engine", "vllm", "--name", "gpu-a"]
STARTED = [*WORDS, "--model", "org/m", "--command", "vllm serve org/m --port {port}"]


def test_one_command_says_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_WORKER_TOKEN", "wp_worker_x")
    read = settings_read([*STARTED, "--slots", "64", "--gpus", "0,1"])
    assert read.marketplace == "https://example.com"
    assert read.token == "wp_worker_x"
    assert read.gpus == (0, 1)
    assert read.engine.command == ("vllm", "serve", "org/m", "--port", "{port}")
    assert (read.engine.called, read.engine.slots) == ("org/m", 64)


def test_a_file_is_under_the_words(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('slots = 8\nmodel-version = "7"\n')
    read = settings_read([*STARTED, "--config", str(file)])
    assert (read.engine.slots, read.engine.model_version) == (8, "7")
    assert settings_read([*STARTED, "--config", str(file), "--slots", "2"]).engine.slots == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--marketplace", "http://example.com"], "is not https"),
        (["--marketplace", "nonsense"], "must look like"),
        (["--engine", "tgi"], "'tgi' is none of"),
        (["--command", "", "--engine", "llama_cpp"], "--adopt URL and --command"),
        (["--gang", "big"], "--gang NAME and --gang-size"),
        (["--gang", "big", "--gang-size", "2", "--rank", "2"], "--rank must be"),
        (["--adopt", "http://x:1"], "not both"),
        (["--command", "vllm serve"], "has no {port}"),
        (["--slots", "0"], "--slots must be from 1"),
        (["--name", "GPU A"], "--name 'GPU A'"),
        (["--path", "inside"], "--path must look like /inside"),
        (["--gpus", "one"], "--gpus must look like"),
        (["--model", ""], "--served-name is needed"),
        (["--config", "/nowhere.toml"], "/nowhere.toml"),
        (["--advertise", "https://gpu.example"], "has no {port}"),
        (["--advertise", "https:///{port}"], "--advertise must look like"),
        (["--advertise", "ftp://gpu.example/{port}"], "--advertise must look like"),
        (["--model-version", "1" * 81], "--model-version may have 80 characters, not 81"),
        (["--served-name", "m" * 201], "--served-name may have 200"),
        (["--command", "", "--adopt", f"http://{'x' * 294}"], "--adopt may have 300"),
        (["--advertise", "gpu", "--path", f"/{'x' * 284}"], "--advertise and --path may have 287"),
    ],
)
def test_what_makes_no_sense_is_named(more: list[str], said: str) -> None:
    with pytest.raises(SettingsWrong) as refused:
        settings_read([*STARTED, *more])
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ['token = "x"', "colour = 1", "slots = true", "name = [1]", "x"])
def test_a_file_with_what_is_no_setting_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(SettingsWrong):
        settings_read([*STARTED, "--config", str(file)])


def test_http_is_for_this_machine_and_for_trusted_networks() -> None:
    for url, more in (("http://127.0.0.1:1", []), ("http://inside:1", ["--insecure-http"])):
        assert settings_read([*STARTED, "--marketplace", url, *more]).marketplace == url


GANG = ["--gang", "big", "--gang-size", "2", "--head", "gpu-a"]


def test_an_engine_that_is_known_needs_no_command() -> None:
    split = ["--tensor-parallel", "8", "--pipeline-parallel", "2", "--rank", "1"]
    read = settings_read([*WORDS, "--model", "org/m", *GANG, *split])
    assert read.engine.command[:3] == ("vllm", "serve", "org/m")
    assert "--headless" in read.engine.command
    assert (read.engine.gang, read.engine.rank) == ("big", 1)


def test_the_devices_of_a_host_are_as_many_as_its_part_takes() -> None:
    with pytest.raises(SettingsWrong, match="names 1 devices, but this host's part takes 2"):
        settings_read([*WORDS, "--model", "org/m", "--tensor-parallel", "2", "--gpus", "0"])


def test_a_rank_above_0_is_started_by_its_agent() -> None:
    with pytest.raises(SettingsWrong, match="--adopt is for rank 0"):
        settings_read([*WORDS, *GANG, "--rank", "1", "--adopt", "http://127.0.0.1:1"])


def test_the_servers_key_is_of_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_SERVER_KEY", "sk-of-the-server")
    assert settings_read(STARTED).server_key == "sk-of-the-server"
    monkeypatch.setenv("WAYPOST_SERVER_KEY", "two words")
    with pytest.raises(SettingsWrong, match="WAYPOST_SERVER_KEY must be") as refused:
        settings_read(STARTED)
    assert "two words" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "url", "told"),
    [
        (["--advertise", "10.0.0.5"], "http://127.0.0.1:8010", "http://10.0.0.5:8010"),
        (
            ["--advertise", "https://gpu.example/{port}/", "--path", "/in"],
            "http://127.0.0.1:8010/in",
            "https://gpu.example/8010/in",
        ),
        (["--advertise", "https://g:{port}"], "http://127.0.0.1:8000", "https://g:8000"),
        (["--advertise", "fd00::5"], "http://[::1]:8010/in", "http://[fd00::5]:8010/in"),
        (["--advertise", "[fd00::5]"], "http://[::1]:8010", "http://[fd00::5]:8010"),
    ],
)
def test_routers_are_told_a_host_or_a_whole_url(words: list[str], url: str, told: str) -> None:
    read = settings_read([*STARTED, *words])
    assert advertised(read.advertise, read.engine, url) == told


def test_an_adopted_server_is_where_it_was_said_to_be_unless_routers_are_told_another() -> None:
    url = "http://127.0.0.1:9000"
    adopts = [*WORDS, "--served-name", "m", "--adopt", url]
    alone = settings_read(adopts)
    assert advertised(alone.advertise, alone.engine, url) == url
    there = settings_read([*adopts, "--advertise", "fd00::5"])
    assert advertised(there.advertise, there.engine, url) == "http://[fd00::5]:9000"
    behind = settings_read([*adopts, "--advertise", "https://gpu.example"])
    assert advertised(behind.advertise, behind.engine, url) == "https://gpu.example"
