"""``/v1/responses`` of emulated workers: OpenAI's Responses API, spoken by the worker itself.

Answers are texts, as in chats. A hosted ``web_search`` finds nothing, and what a model thought is
encrypted if that is asked for: only what this worker's pool encrypted is taken back.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from router.simulator.engines.batching import Sequence
from workers.backends.emulator.prompt import Message

ENCRYPTED = "reasoning.encrypted_content"
SEARCH = "web_search"


class ResponsesCall(msgspec.Struct):
    """The fields of a call that have a meaning here."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool = False
    store: bool = True
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] = []
    include: list[str] = []


class Refused(ValueError):
    """What is wrong with a call."""


def messages_of(call: ResponsesCall, pool: str) -> list[Message]:
    """The prompt. Raises :class:`Refused` for what a real server would refuse."""
    if call.store or call.previous_response_id is not None:
        raise Refused("nothing is stored here: set store to false and send the whole input")
    told = [Message("system", call.instructions)] if call.instructions else []
    if isinstance(call.input, str):
        return [*told, Message("user", call.input)]
    for item in call.input:
        sealed = item.get("encrypted_content")
        if sealed is not None and sealed != encrypted(pool, str(item.get("id"))):
            raise Refused("the encrypted content could not be verified")
        told.append(Message(str(item.get("role", "tool")), msgspec.json.encode(item).decode()))
    return told


def encrypted(pool: str, id_: str) -> str:
    """A thought that only this pool can read, under its id alone."""
    return f"emulated.{pool}.{id_}"


class Telling:
    """One response. ``number`` makes its ids."""

    def __init__(self, call: ResponsesCall, pool: str, number: int, created_s: int) -> None:
        self._call = call
        self._number = number
        self._created_s = created_s
        self._sequence = 0
        self.before = list(self._items(pool))
        """What is there before the text."""

    def begin(self) -> list[bytes]:
        """The events before the first token."""
        begun = self.response([], "in_progress", None)
        events = [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
        ]
        for place, item in enumerate(self.before):
            events += [
                self._event("response.output_item.added", output_index=place, item=item),
                self._event("response.output_item.done", output_index=place, item=item),
            ]
        item = self._message("", "in_progress")
        place = len(self.before)
        added = self._event("response.output_item.added", output_index=place, item=item)
        part = self._part("response.content_part.added", part=_text_part(""))
        return [*events, added, part]

    def piece(self, text: str) -> bytes:
        """The event of a token."""
        return self._part("response.output_text.delta", delta=text, logprobs=[])

    def end(self, text: str, sequence: Sequence) -> list[bytes]:
        """The events after the last token."""
        item, place = self._message(text, "incomplete"), len(self.before)
        last = self.whole(text, sequence)
        return [
            self._part("response.output_text.done", text=text, logprobs=[]),
            self._part("response.content_part.done", part=_text_part(text)),
            self._event("response.output_item.done", output_index=place, item=item),
            self._event("response.incomplete", response=last),
        ]

    def whole(self, text: str, sequence: Sequence) -> dict[str, Any]:
        """The whole response: it always ends because it has as many tokens as it may."""
        output = [*self.before, self._message(text, "incomplete")]
        return self.response(output, "incomplete", sequence)

    def response(
        self, output: list[dict[str, Any]], status: str, sequence: Sequence | None
    ) -> dict[str, Any]:
        """The response in a status."""
        return {
            "id": f"resp_emulated{self._number}",
            "object": "response",
            "created_at": self._created_s,
            "model": self._call.model,
            "status": status,
            "output": output,
            "incomplete_details": {"reason": "max_output_tokens"} if sequence else None,
            "tools": self._call.tools,
            "store": False,
            "usage": _usage(sequence) if sequence else None,
            "emulated": True,
        }

    def _items(self, pool: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if ENCRYPTED in self._call.include:
            id_ = f"rs_emulated{self._number}"
            thought = {"summary": [], "encrypted_content": encrypted(pool, id_)}
            items.append({"type": "reasoning", "id": id_, **thought})
        if any(tool.get("type") == SEARCH for tool in self._call.tools):
            action = {"type": "search", "query": "emulated: nothing was searched"}
            search = {"status": "completed", "action": action}
            items.append({"type": "web_search_call", "id": f"ws_emulated{self._number}", **search})
        return items

    def _message(self, text: str, status: str) -> dict[str, Any]:
        return {
            "type": "message",
            "id": f"msg_emulated{self._number}",
            "role": "assistant",
            "status": status,
            "content": [_text_part(text)] if text else [],
        }

    def _part(self, type_: str, **fields: Any) -> bytes:
        id_ = f"msg_emulated{self._number}"
        return self._event(
            type_, item_id=id_, output_index=len(self.before), content_index=0, **fields
        )

    def _event(self, type_: str, **fields: Any) -> bytes:
        data = {"type": type_, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), msgspec.json.encode(data))


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(sequence: Sequence) -> dict[str, Any]:
    prompt, answer = sequence.prompt_tokens, sequence.answer_events
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": sequence.cached_tokens},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + answer,
    }
