"""``python -m tests.unit.router.kv_events.record``: writes the recorded streams anew.

They are what an engine of 34 blocks sends for two chats in turn, in the forms of vLLM
(``vllm/distributed/kv_events.py`` at 0181ea3) and of SGLang (``srt/disaggregation/kv_events.py`` at
006d053), encoded as there by msgspec's msgpack encoder. A line for each message has its payload in
hexadecimal, the counts of the call, and how many tokens are left of one of the prompts.
"""

import json
from pathlib import Path

import msgspec

from tests.unit.router.kv_events.engine import CachingEngine, as_arrays

FOLDER = Path(__file__).parent
TURNS = 6
BLOCKS = 34
WATCHED = 3
"""The prompt of which is noted how much is left after each call."""


def chats() -> list[tuple[bytes, bytes]]:
    """Prompts and answers in order."""
    said, calls = [b"", b""], []
    for turn in range(TURNS):
        chat = turn % 2
        said[chat] += (f"chat {chat}, turn {turn}: " + "what a prompt says; " * 24).encode()
        answer = (f"answer {turn}: " + "what is answered; " * 4).encode()
        calls.append((said[chat], answer))
        said[chat] += answer
    return calls


def main() -> None:
    """Write both."""
    lines: dict[str, list[str]] = {"vllm": [], "sglang": []}
    engine = CachingEngine(BLOCKS)

    def write(number: int, **more: int) -> None:
        batch = engine.taken(1_700_000_000.5 + number)
        for name, sent in (("vllm", batch), ("sglang", as_arrays(batch))):
            payload = msgspec.msgpack.encode(sent).hex()
            lines[name].append(json.dumps({"number": number, **more, "payload": payload}))

    for number, (prompt, answer) in enumerate(chats()):
        request = engine.begin(prompt)
        engine.answer(request, answer)
        counts = request.prompt_tokens, len(request.tokens) - request.prompt_tokens
        there = engine.cached_tokens(chats()[WATCHED][0])
        write(
            number,
            prompt_tokens=counts[0],
            cached_tokens=request.cached_tokens,
            answer_tokens=counts[1],
            watched_tokens=there,
        )
    engine.clear()
    write(TURNS, watched_tokens=0)
    for name, written in lines.items():
        (FOLDER / f"{name}.jsonl").write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
