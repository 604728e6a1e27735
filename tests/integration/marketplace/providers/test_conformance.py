"""Checks pass good servers, real ones too, and find each fault of bad ones."""

import time
from typing import Any

import pytest

from marketplace.demo.offering.real import REAL_MODELS
from marketplace.providers.conformance.checks import ADVICE, LABELS, Check, advice_text
from marketplace.providers.conformance.findings import Finding, Target
from marketplace.providers.conformance.openai.chat import SLOTS_FILLED_MAX
from marketplace.providers.conformance.probing import Stopped, check_all
from router.domain.addresses import AddressPolicy
from tests.integration.marketplace.providers.servers import MODEL, fake_openai

LOOPBACK = AddressPolicy(["127.0.0.0/8"])
PARAMETERS = ("stop", "seed", "response_format", "tools", "responses")


def findings_of(url: str, policy: AddressPolicy = LOOPBACK, **values: Any) -> dict[Check, Finding]:
    target = Target(
        **{
            "url": url,
            "protocol": "openai",
            "slots": 1,
            "task": "chat",
            "model": MODEL,
            "parameters": PARAMETERS,
            **values,
        }
    )
    found: dict[Check, Finding] = {}
    check_all(
        [target],
        policy,
        tell=lambda _target, finding: found.setdefault(finding.check, finding) and None,
        is_cancelled=lambda: False,
        seconds_max=600,
    )
    return found


@pytest.mark.parametrize("habit", [(), ("one_call",)])
def test_a_good_server_passes_every_check(habit: tuple[str, ...]) -> None:
    """One that ends connections when it pleases, as all may, is a good one too."""
    with fake_openai(*habit, token_s=0.01) as url:
        found = findings_of(url)
    assert {check: finding.verdict for check, finding in found.items()} == dict.fromkeys(
        set(Check) - {Check.METADATA, Check.INFER, Check.BINARY, Check.BAD_SHAPE},
        "pass",
    )
    assert all(finding.sent and finding.received for finding in found.values())


@pytest.mark.parametrize(
    ("fault", "check", "verdict"),
    [
        ("unhealthy", Check.HEALTH, "fail"),
        ("model_missing", Check.MODEL_LISTED, "fail"),
        ("no_text", Check.PLAIN_CALL, "fail"),
        ("no_usage", Check.USAGE, "fail"),
        ("usage_wrong", Check.USAGE, "fail"),
        ("overcounted", Check.USAGE, "warn"),
        ("too_many_tokens", Check.MAX_TOKENS, "fail"),
        ("not_a_stream", Check.STREAM, "fail"),
        ("no_done", Check.STREAM, "fail"),
        ("one_piece", Check.STREAM, "warn"),
        ("no_stream_usage", Check.STREAM_USAGE, "fail"),
        ("bad_accepted", Check.BAD_REQUEST, "fail"),
        ("bad_crash", Check.BAD_REQUEST, "warn"),
        ("error_shape", Check.BAD_REQUEST, "warn"),
        ("stop_ignored", Check.STOP, "fail"),
        ("seed_differs", Check.SEED, "warn"),
        ("json_broken", Check.JSON, "fail"),
        ("tools_unused", Check.TOOLS, "warn"),
        ("http_error", Check.RESPONSES, "fail"),
        ("no_response", Check.RESPONSES, "fail"),
    ],
)
def test_a_fault_is_found_where_it_is_and_said_what_to_do(
    fault: str, check: Check, verdict: str
) -> None:
    with fake_openai(fault) as url:
        found = findings_of(url)
    assert (found[check].verdict, found[check].code) == (verdict, fault)
    assert "%(" not in advice_text(found[check].code, found[check].params)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("response_too_long", "too_many_tokens"), ("response_uncounted", "no_usage")],
)
def test_a_response_is_counted_as_a_chat_is(fault: str, code: str) -> None:
    with fake_openai(fault) as url:
        found = findings_of(url)
    assert (found[Check.RESPONSES].verdict, found[Check.RESPONSES].code) == ("fail", code)


def test_a_server_that_goes_on_for_nobody_is_seen() -> None:
    with fake_openai("cancel_ignored", token_s=0.01) as url:
        found = findings_of(url)
    assert found[Check.CANCEL].code == "cancel_ignored"
    assert found[Check.CANCEL].verdict == "warn"


def test_what_is_not_claimed_is_not_tested() -> None:
    with fake_openai("stop_ignored", "json_broken") as url:
        found = findings_of(url, parameters=())
    claims = (Check.STOP, Check.SEED, Check.JSON, Check.TOOLS, Check.RESPONSES)
    assert {found[check].code for check in claims} == {"not_claimed"}


def test_more_slots_than_a_check_may_fill_are_left_alone() -> None:
    with fake_openai() as url:
        found = findings_of(url, slots=SLOTS_FILLED_MAX + 1)
    assert (found[Check.CANCEL].verdict, found[Check.CANCEL].code) == ("skip", "cancel_unseen")


def test_nobody_answers() -> None:
    found = findings_of("http://127.0.0.1:9")
    assert set(found) == {Check.REACHABLE}
    assert found[Check.REACHABLE].code == "no_answer"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::1]:{port}"]
)
def test_an_inside_address_is_not_called_unless_the_installation_allows_it(url: str) -> None:
    with fake_openai() as real:
        port = real.rpartition(":")[2]
        found = findings_of(url.format(port=port), AddressPolicy())
    assert found[Check.REACHABLE].code == "address_refused"
    assert set(found) == {Check.REACHABLE}


def test_it_stops_soon_after_it_is_cancelled() -> None:
    reports: list[Finding] = []
    with fake_openai(token_s=0.5) as url:
        target = Target(url, "openai", 1, "chat", MODEL)
        begun = time.monotonic()
        with pytest.raises(Stopped):
            check_all(
                [target],
                LOOPBACK,
                tell=lambda _t, finding: reports.append(finding),
                is_cancelled=lambda: bool(reports),
            )
    assert time.monotonic() - begun < 3


def test_it_ends_when_its_time_is_over() -> None:
    with fake_openai(token_s=0.5) as url, pytest.raises(TimeoutError, match=r"0\.5 s"):
        check_all(
            [Target(url, "openai", 1, "chat", MODEL)],
            LOOPBACK,
            tell=lambda _t, _f: None,
            is_cancelled=lambda: False,
            seconds_max=0.5,
        )


@pytest.mark.nightly  # A real language model at work.
def test_the_real_language_model_conforms(llama_url: str) -> None:
    model = REAL_MODELS[0].upstream_model
    found = findings_of(llama_url, model=model, slots=2)
    failed = {check: finding.code for check, finding in found.items() if finding.verdict == "fail"}
    assert not failed
    assert found[Check.CANCEL].verdict in {"pass", "skip"}
    assert found[Check.STREAM].verdict == found[Check.STOP].verdict == "pass"


@pytest.mark.parametrize("protocol", ["oip", "oip_grpc"])
@pytest.mark.parametrize("model", REAL_MODELS[1:], ids=lambda model: model.upstream_model)
def test_real_tensor_models_conform(
    triton_addresses: dict[str, str], protocol: str, model: Any
) -> None:
    scheme, key = ("grpc", "grpc") if protocol == "oip_grpc" else ("http", "http")
    found = findings_of(
        f"{scheme}://{triton_addresses[key]}",
        protocol=protocol,
        task=model.task,
        model=model.upstream_model,
        tensors=model.tensors,
    )
    assert {finding.verdict for finding in found.values()} == {"pass"}, found
    assert Check.BAD_SHAPE in found


def test_wrong_tensors_are_told_apart_from_the_servers(triton_addresses: dict[str, str]) -> None:
    tensors = {
        "inputs": [{"name": "FEATURES", "datatype": "FP32", "shape": [-1, 9]}],
        "outputs": [{"name": "PROBABILITY", "datatype": "FP32", "shape": [-1, 1]}],
    }
    found = findings_of(
        f"http://{triton_addresses['http']}",
        protocol="oip",
        task="tabular",
        model="fraud_scorer",
        tensors=tensors,
    )
    assert found[Check.METADATA].code == "tensors_differ"
    assert found[Check.INFER].verdict == "fail"


def test_every_check_has_a_name_and_every_code_its_words() -> None:
    assert set(LABELS) == set(Check)
    assert advice_text("model_missing", {"known": "a", "model": "b"}) == (
        "It knows a, not b. Correct the upstream model's name."
    )
    assert "ok" in ADVICE
