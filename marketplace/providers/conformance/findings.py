"""What a check tests, and what it found. Plain values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marketplace.providers.conformance.checks import Check

SHOWN_CHARACTERS = 500
PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint: ``model`` is the model's name there, ``parameters`` are the claimed ones."""

    url: str
    protocol: str
    slots: int
    task: str
    model: str
    parameters: tuple[str, ...] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``error`` says why there is none; ``events`` are a stream's data lines."""

    status: int = 0
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: str = ""
    took_ms: float = 0.0
    first_ms: float = 0.0
    error: str = ""
    refused: bool = False
    events: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.error and self.status == 200

    @property
    def shown(self) -> str:
        """The status and the start of the body."""
        if self.error:
            return self.error[:SHOWN_CHARACTERS]
        text = " ".join(self.events[-3:]) or self.content.decode(errors="replace")
        text = text.replace("\0", "").strip()
        return f"{self.status} {text}"[:SHOWN_CHARACTERS]

    def body(self) -> dict[str, Any]:
        """The JSON object that it is; {} for anything else."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: Check
    verdict: str
    code: str = "ok"
    params: Mapping[str, Any] = field(default_factory=dict)
    sent: str = ""
    received: str = ""
    took_ms: float = 0.0


def found(
    check: Check, reply: Reply, verdict: str = PASS, code: str = "ok", **params: Any
) -> Finding:
    """A finding about one reply."""
    return Finding(check, verdict, code, params, reply.sent, reply.shown, round(reply.took_ms, 1))


def unanswered(check: Check, reply: Reply, verdict: str = FAIL) -> Finding | None:
    """What is wrong with a reply apart from its content; None for a 200."""
    if reply.refused:
        return found(check, reply, verdict, "address_refused", why=reply.error)
    if reply.error:
        return found(check, reply, verdict, "no_answer", why=reply.error)
    if reply.status != 200:
        return found(check, reply, verdict, "http_error", status=reply.status)
    return None


def shortened(value: Any) -> str:
    """A request as it is shown."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
