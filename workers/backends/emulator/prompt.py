"""What an emulated engine sees of a chat: tokens of four bytes, and the blocks that they fill.

A block is named by a hash of all up to its end, so that equal names stand for equal beginnings.
"""

from collections.abc import Sequence as Items
from hashlib import blake2b
from typing import Any

import msgspec

from router.simulator.engines.batching import Sequence
from router.simulator.engines.kv_cache import BLOCK_TOKENS, Chain

BYTES_PER_TOKEN = 4
BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN
NAME_BYTES = 8


class Message(msgspec.Struct):
    """One message of a chat; what is not text counts as its JSON."""

    role: str
    content: str | list[Any] | None = None


def prompt_text(messages: Items[Message]) -> bytes:
    """All messages in a template, up to where the answer begins: a later turn goes on from it."""
    return "".join(
        [*map(_turn, messages), _turn(Message("assistant")).rstrip("\n") + "\n"]
    ).encode()


def generation(prompt: bytes, answer: bytes) -> Sequence:
    """What an engine has to do for an answer of whole tokens."""
    prompt_tokens = max(len(prompt) // BYTES_PER_TOKEN, 1)
    blocks = len(prompt) // BLOCK_BYTES
    chain = block_chain(prompt + answer)
    rest = tuple((name, end - blocks) for name, end in chain[blocks:])
    return Sequence(chain[:blocks], prompt_tokens, len(answer) // BYTES_PER_TOKEN, rest)


def block_chain(text: bytes) -> Chain:
    """The whole blocks of a text."""
    chain: list[tuple[int, int]] = []
    name = b""
    for end in range(BLOCK_BYTES, len(text) + 1, BLOCK_BYTES):
        name = blake2b(name + text[end - BLOCK_BYTES : end], digest_size=NAME_BYTES).digest()
        chain.append((int.from_bytes(name), end // BLOCK_BYTES))
    return tuple(chain)


def _turn(message: Message) -> str:
    content = message.content
    if isinstance(content, list):
        content = msgspec.json.encode(content).decode()
    return f"<|{message.role}|>\n{content or ''}\n"
