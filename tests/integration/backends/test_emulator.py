"""The emulated fleet speaks the real protocols and says that it is emulated."""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.backend import get

GPT_J = "emulated/gpt-j-6b"
HELLO = [{"role": "user", "content": "hello"}]
POLL_S = 0.02


def client_of(emulator_url: str, worker: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{emulator_url}/{worker}/v1", api_key="none", max_retries=0)


def test_an_answer_says_what_it_is(emulator_url: str) -> None:
    answer = client_of(emulator_url, "emulated-h100-0").chat.completions.create(
        model=GPT_J, messages=HELLO, max_tokens=6
    )
    assert "emulated" in (answer.choices[0].message.content or "")
    assert answer.system_fingerprint == "emulated-h100"
    assert answer.usage.completion_tokens == 6


def test_a_stream_has_one_event_a_token_and_usage(emulator_url: str) -> None:
    chunks = list(
        client_of(emulator_url, "emulated-tpu-v5e-0").chat.completions.create(
            model=GPT_J,
            messages=HELLO,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    words = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(words) == 5
    assert chunks[-1].usage.completion_tokens == 5


def test_responses_are_spoken_and_nothing_is_stored(emulator_url: str) -> None:
    client = client_of(emulator_url, "emulated-h100-0")
    asked: Any = {
        "model": GPT_J,
        "max_output_tokens": 5,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    first = client.responses.create(input="hello", **asked)
    assert "This is" in first.output_text
    assert (first.usage.output_tokens, first.status) == (5, "incomplete")
    events = list(client.responses.create(input="hello", stream=True, **asked))
    words = [event for event in events if event.type == "response.output_text.delta"]
    assert len(words) == 5
    assert events[-1].response.output_text == first.output_text
    thought: Any = first.output[0].model_dump(exclude_none=True)
    client.responses.create(input=[thought, *HELLO], **asked)
    for wrong in (
        {"input": [thought | {"id": "rs_another"}, *HELLO]},
        {"input": "hello", "store": True},
        {"input": "hello", "previous_response_id": first.id},
    ):
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**{**asked, **wrong})


def test_usage_says_how_much_of_the_prompt_was_cached(emulator_url: str) -> None:
    def cached(question: str) -> int:
        messages = [{"role": "system", "content": "Be brief. " * 80}]
        messages.append({"role": "user", "content": question})
        answer = client_of(emulator_url, "emulated-tpu-v5e-1").chat.completions.create(
            model=GPT_J, messages=messages, max_tokens=3
        )
        return answer.usage.prompt_tokens_details.cached_tokens

    assert cached("Why?") == 0
    assert 150 < cached("How?") < 220


def test_what_never_fits_into_the_cache_is_the_callers_fault(emulator_url: str) -> None:
    client = client_of(emulator_url, "emulated-rtx4090-0").chat.completions
    with pytest.raises(openai.BadRequestError, match="KV cache"):
        client.create(model=GPT_J, messages=HELLO, max_tokens=10**9)
    with pytest.raises(openai.BadRequestError, match=">= 1"):
        client.create(model=GPT_J, messages=HELLO, max_tokens=0)


def test_what_runs_together_shares_each_step(emulator_url: str) -> None:
    def seconds(count: int) -> float:
        begun = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(ask, range(count)))
        return time.monotonic() - begun

    client = client_of(emulator_url, "emulated-cpu-0").chat.completions

    def ask(_number: int) -> None:
        client.create(model=GPT_J, messages=HELLO, max_tokens=20)

    alone = seconds(1)
    assert seconds(8) < 3 * alone


def test_a_model_that_does_not_chat_is_refused(emulator_url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-j"):
        client_of(emulator_url, "emulated-h100-0").chat.completions.create(
            model="emulated/resnet-50", messages=HELLO
        )


def test_a_model_larger_than_the_memory_is_refused(emulator_url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not run on emulated-rtx4090-0"):
        client_of(emulator_url, "emulated-rtx4090-0").chat.completions.create(
            model="emulated/llama-2-70b-chat", messages=HELLO
        )


def test_unlike_hardware_takes_unlike_time(emulator_url: str) -> None:
    def seconds(worker: str) -> float:
        begun = time.monotonic()
        client_of(emulator_url, worker).chat.completions.create(
            model=GPT_J, messages=HELLO, max_tokens=4
        )
        return time.monotonic() - begun

    assert seconds("emulated-h100-0") < seconds("emulated-cpu-0")


def test_a_client_that_leaves_frees_its_slot(emulator_url: str) -> None:
    state = f"{emulator_url}/emulated-cpu-1/emulator"
    body = {"model": GPT_J, "messages": HELLO, "max_tokens": 500, "stream": True}
    url = f"{emulator_url}/emulated-cpu-1/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data:")
        assert get(state).json()["running"] == 1
    deadline = time.monotonic() + 2
    while get(state).json()["running"] and time.monotonic() < deadline:
        time.sleep(POLL_S)
    after = get(state).json()
    assert (after["running"], after["cancelled"]) == (0, 1)


def test_a_worker_fails_when_told_to(emulator_url: str) -> None:
    faults = f"{emulator_url}/emulated-a100-1/emulator"
    try:
        httpx.post(faults, json={"fail": True}).raise_for_status()
        with pytest.raises(openai.InternalServerError):
            client_of(emulator_url, "emulated-a100-1").chat.completions.create(
                model=GPT_J, messages=HELLO
            )
    finally:
        httpx.post(faults, json={}).raise_for_status()


def test_a_model_that_is_not_emulated_is_refused_by_name(emulator_url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="not emulated"):
        client_of(emulator_url, "emulated-h100-0").chat.completions.create(
            model="meta/llama", messages=HELLO
        )


def test_a_worker_may_be_made_faster_and_slower_but_not_timeless(emulator_url: str) -> None:
    url = f"{emulator_url}/emulated-cpu-0/emulator"
    try:
        for factor in (4.0, 0.5):
            answer = httpx.post(url, json={"slowdown": factor})
            assert answer.json()["faults"]["slowdown"] == factor
        assert httpx.post(url, json={"slowdown": 0}).status_code == 400
    finally:
        httpx.post(url, json={})


def test_an_inference_without_tensors_is_the_callers_fault(emulator_url: str) -> None:
    url = f"{emulator_url}/emulated-h100-tensor-0/v2/models/emulated/resnet-50/infer"
    assert httpx.post(url, json={"inputs": []}).status_code == 400


def test_a_reranking_is_by_shared_words_and_says_what_it_is(emulator_url: str) -> None:
    call = {
        "model": "emulated/bge-reranker-large",
        "query": "the sea",
        "documents": ["bread", "The sea is salt", "a sea"],
    }
    body = httpx.post(f"{emulator_url}/emulated-h100-0/v1/rerank", json=call).json()
    assert [row["relevance_score"] for row in body["results"]] == [0.0, 1.0, 0.5]
    assert body["emulated"] is True
    assert body["usage"]["prompt_tokens"] > 0


def test_a_moderation_is_by_words_and_says_what_it_is(emulator_url: str) -> None:
    call = {"model": "emulated/deberta-moderation", "input": ["such violence", "a calm day"]}
    body = httpx.post(f"{emulator_url}/emulated-cpu-0/v1/moderations", json=call).json()
    assert [row["flagged"] for row in body["results"]] == [True, False]
    assert body["results"][0]["categories"]["violence"] is True
    assert body["emulated"] is True


def test_an_image_is_of_the_asked_size_and_says_what_it_is(emulator_url: str) -> None:
    call = {"model": "emulated/stable-diffusion-xl", "prompt": "a sea", "size": "64x128"}
    url = f"{emulator_url}/emulated-h100-0/v1/images/generations"
    (entry,) = httpx.post(url, json=call).json()["data"]
    with Image.open(io.BytesIO(base64.b64decode(entry["b64_json"]))) as image:
        image.load()
        assert image.size == (64, 128)
        assert "emulated" in image.info["Comment"]
    assert httpx.post(url, json={**call, "size": "1x1"}).status_code == 400
