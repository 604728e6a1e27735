"""Launch settings follow from how a model is split, and are options that the engines document."""

import itertools
import json

import pytest

from workers.agent.launch import (
    COMMANDS,
    OPTIONS,
    LaunchWrong,
    Split,
    check,
    documented,
    triton_instance_group,
)

TWO_HOSTS = [Split(8, 2, hosts=2, rank=rank, head="gpu-a") for rank in (0, 1)]


def options_of(words: tuple[str, ...]) -> dict[str, str]:
    """Those with a value."""
    return {
        name: value
        for name, value in itertools.pairwise(words)
        if name.startswith("--") and not value.startswith("--")
    }


def test_vllm_on_one_host_needs_no_others() -> None:
    words = COMMANDS["vllm"]("org/m", "m", 64, Split(tensor=4, pipeline=2))
    assert words[:3] == ("vllm", "serve", "org/m")
    assert options_of(words) == {
        "--host": "0.0.0.0",
        "--port": "{port}",
        "--served-model-name": "m",
        "--max-num-seqs": "64",
        "--tensor-parallel-size": "4",
        "--pipeline-parallel-size": "2",
    }


def test_vllm_on_two_hosts_meets_at_the_first_and_only_that_one_listens() -> None:
    first, second = (COMMANDS["vllm"]("org/m", "m", 64, split) for split in TWO_HOSTS)
    assert options_of(first)["--master-addr"] == "gpu-a"
    assert (options_of(first)["--node-rank"], options_of(second)["--node-rank"]) == ("0", "1")
    assert ("--headless" in first, "--headless" in second) == (False, True)


def test_sglang_on_two_hosts_meets_at_the_first() -> None:
    first, second = (COMMANDS["sglang"]("org/m", "m", 64, split) for split in TWO_HOSTS)
    assert "--enable-metrics" in first
    assert options_of(first)["--dist-init-addr"] == "gpu-a:20000"
    assert options_of(second)["--node-rank"] == "1"


def test_all_parts_of_a_gang_meet_at_one_port_and_those_of_the_next_at_another() -> None:
    def port(engine: str, gang: str, rank: int) -> str:
        split = Split(tensor=2, hosts=2, rank=rank, head="gpu-a", gang=gang)
        options = options_of(COMMANDS[engine]("org/m", "m", 8, split))
        return options.get("--master-port") or options["--dist-init-addr"].partition(":")[2]

    for engine in COMMANDS:
        assert port(engine, "big", 0) == port(engine, "big", 1)
        assert port(engine, "big", 0) != port(engine, "big-2", 0)


def test_triton_has_instances_on_chosen_gpus_or_on_the_cpu() -> None:
    assert triton_instance_group(2, [0, 1]) == (
        "instance_group [\n  {\n    count: 2\n    kind: KIND_GPU\n    gpus: [0, 1]\n  }\n]\n"
    )
    assert "KIND_CPU" in triton_instance_group(1, [])


def test_devices_are_shared_evenly() -> None:
    assert TWO_HOSTS[0].devices_here == 8
    with pytest.raises(LaunchWrong, match="3 × 1 devices cannot be shared by 2 hosts"):
        _ = Split(3, 1, hosts=2).devices_here


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--tensor-parallelism", 2),
        ("--tensor-parallel-size", "two"),
        ("--tensor-parallel-size", True),
        ("--dtype", "fp3"),
        ("--served-model-name", ""),
    ],
)
def test_what_is_not_documented_is_refused(name: str, value: object) -> None:
    with pytest.raises(LaunchWrong, match=name):
        check(name, value, documented("vllm")["options"])


def test_every_file_says_where_its_options_are_documented() -> None:
    files = sorted(OPTIONS.glob("*.json"))
    assert [file.stem for file in files] == ["sglang", "triton", "vllm"]
    for file in files:
        assert json.loads(file.read_text())["source"].startswith("https://")


def test_a_host_of_ipv6_listens_there_and_its_gang_meets_in_brackets() -> None:
    split = Split(2, hosts=2, head="fd00::7")
    words = COMMANDS["sglang"]("org/m", "m", 8, split, "::")
    assert options_of(words)["--dist-init-addr"] == "[fd00::7]:20000"
    assert options_of(words)["--host"] == "::"
