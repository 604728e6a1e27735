"""A response as clients get it: what was asked, and what came of it."""

from typing import Any

import msgspec

from router.contracts.bodies.completion import TokenCounts
from router.domain.errors import CallError
from router.ingress.faces.responses.request import Request

Fields = dict[str, Any]
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by its finish reason."""

_PLAIN = {"type": "text"}
_NOTHING: Fields = {}


class Resource:
    """One response. ``is_kept`` says whether it is kept; ``output`` grows.

    Its id and those of its items have the ``key``. ``created_s`` is Unix time.
    """

    def __init__(
        self, key: str, model: str, created_s: int, asked: Request, *, is_kept: bool = False
    ) -> None:
        self.key = key
        self.id = f"resp_{self.key}"
        self.output: list[Fields] = []
        self.model = model
        self.usage: TokenCounts | None = None
        self.finish_reason = ""
        self._asked = asked
        self._created_s = created_s
        self._is_kept = is_kept

    @property
    def status(self) -> str:
        """What became of it once its answer ended."""
        return "incomplete" if self.finish_reason in INCOMPLETE else "completed"

    def running(self) -> Fields:
        """While it is answered."""
        return self.standing("in_progress")

    def ended(self, now_s: float) -> Fields:
        """With its whole answer, at Unix seconds ``now_s``."""
        why = INCOMPLETE.get(self.finish_reason)
        return self.standing(self.status) | {
            "completed_at": None if why else int(now_s),
            "incomplete_details": {"reason": why} if why else None,
            "usage": usage_of(self.usage),
        }

    def failed(self, error: CallError) -> Fields:
        """Broken off by an error."""
        told = {"code": error.code, "message": error.message}
        return self.standing("failed") | {"error": told}

    def standing(self, status: str) -> Fields:
        """In a status other than that of an ended one."""
        asked = self._asked
        text = asked.text
        reasoning = asked.reasoning
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_s,
            "completed_at": None,
            "status": status,
            "background": bool(asked.background),
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "model": self.model,
            "output": list(self.output),
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "reasoning": {
                "effort": reasoning.effort if reasoning else None,
                "summary": reasoning.summary if reasoning else None,
            },
            "safety_identifier": asked.safety_identifier,
            "prompt_cache_key": asked.prompt_cache_key,
            "service_tier": asked.service_tier or "default",
            "store": self._is_kept,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "text": {
                "format": _given(text.format) if text and text.format else _PLAIN,
                "verbosity": (text and text.verbosity) or "medium",
            },
            "tool_choice": _given(asked.tool_choice) if asked.tool_choice else "auto",
            "tools": [_tool(_given(tool)) for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "presence_penalty": asked.presence_penalty or 0.0,
            "frequency_penalty": asked.frequency_penalty or 0.0,
            "truncation": asked.truncation or "disabled",
            "usage": None,
            "user": asked.user,
            "metadata": asked.metadata or _NOTHING,
        }


def _given(value: Any) -> Any:
    """A struct as the client wrote it; other values as they are."""
    if not isinstance(value, msgspec.Struct):
        return value
    fields = msgspec.structs.asdict(value)
    return {name: _each(given) for name, given in fields.items() if not _is_null(given)}


def _each(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(item) for item in value]
    return _given(value)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) == b"null")


def _tool(given: Fields) -> Fields:
    """With what clients expect of every function."""
    return {"description": None, "parameters": None, "strict": None, **given}


def usage_of(usage: TokenCounts | None) -> Fields:
    """A response's usage; all are 0 if none is known."""
    usage = usage or TokenCounts()
    prompts, completions = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": (prompts.cached_tokens or 0) if prompts is not None else 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {
            "reasoning_tokens": (completions.reasoning_tokens or 0)
            if completions is not None
            else 0
        },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **({} if usage.cost is None else {"cost": usage.cost}),
    }
