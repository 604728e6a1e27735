"""A real language model, through its OpenAI-compatible server."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import openai

MODEL = "huggingfacetb/smollm2-135m-instruct"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_it_answers_and_counts_tokens(llama_url: str) -> None:
    client = openai.OpenAI(base_url=f"{llama_url}/v1", api_key="none")
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=16, temperature=0
    )
    assert answer.choices[0].message.content
    assert answer.model == MODEL
    assert 0 < answer.usage.completion_tokens <= 16


def test_it_streams_with_usage_at_the_end(llama_url: str) -> None:
    client = openai.OpenAI(base_url=f"{llama_url}/v1", api_key="none")
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len([chunk for chunk in chunks if chunk.choices]) > 3
    assert chunks[-1].usage.completion_tokens <= 8


def test_a_missing_library_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    """A package of the same name, that fails as the real one does without the library."""
    complaint = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "xllamacpp.py").write_text(f"raise ImportError({complaint!r})")
    found = subprocess.run(
        [sys.executable, "-m", "workers.backends.llama_cpp", "--port", "9"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 3
    assert found.stderr == (
        "llama.cpp cannot start: libgomp.so.1 is missing"
        " (run `make setup`, or apt-get install libgomp1)\n"
    )


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = subprocess.run(
            [sys.executable, "-m", "workers.backends.llama_cpp", "--port", port],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert found.returncode == 1
    assert found.stderr.strip() == f"llama.cpp: port {port} cannot be used: Address already in use"
