"""JSON schemas of the demo models' inputs; playgrounds build forms from them."""

from typing import Any

CHAT_INPUT = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "seed": {"type": "integer", "minimum": 0},
        "stop": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        "stream": {"type": "boolean"},
    },
}
EMBEDDINGS_INPUT = {
    "type": "object",
    "required": ["input"],
    "properties": {"input": {"type": ["string", "array"]}},
}
RERANK_INPUT = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "documents": {"type": "array", "items": {"type": ["string", "object"]}, "minItems": 1},
        "top_n": {"type": "integer", "minimum": 1},
        "return_documents": {"type": "boolean"},
    },
}
MODERATION_INPUT = {
    "type": "object",
    "required": ["input"],
    "properties": {"input": {"type": ["string", "array"], "minLength": 1, "minItems": 1}},
}
PROMPT_INPUT = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "minLength": 1},
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "size": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
    },
}
SPEECH_INPUT = {
    "type": "object",
    "required": ["input", "voice"],
    "properties": {
        "input": {"type": "string", "minLength": 1, "maxLength": 4_096},
        "voice": {"type": "string"},
        "response_format": {"enum": ["wav", "pcm"]},
    },
}
RECORDING_INPUT = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "audio/*"},
        "response_format": {"enum": ["json", "text", "srt", "verbose_json", "vtt"]},
    },
}


def _column(title: str, default: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    bounds = {"minimum": low, "maximum": high}
    return {"title": title, "type": "number", **bounds, "default": default, **more}


FRAUD_INPUT = {
    "type": "object",
    "required": ["FEATURES"],
    "properties": {
        "FEATURES": {
            "title": "Transactions",
            "description": "One a row, up to 4096; the answer is how likely fraud is.",
            "type": "array",
            "minItems": 1,
            # As configured in Triton (workers/backends/triton/repository.py), and sent by a batch.
            "maxItems": 4_096,
            # A list, as the tensor's columns are ordered and the keys of a JSON object are not.
            "items": {
                "type": "array",
                "prefixItems": [
                    _column("amount_usd", 240.0, 0, 1_000_000),
                    _column("hour_of_day", 3, 0, 23, type="integer"),
                    _column("km_from_home", 320, 0, 20_100),
                    _column("minutes_since_last", 4, 0, 10_000_000),
                    _column("transactions_last_day", 5, 0, 10_000, type="integer"),
                    _column("merchant_risk", 0.4, 0, 1),
                    _column("card_present", 0, 0, 1, type="integer"),
                    _column("account_age_days", 90, 0, 100_000, type="integer"),
                ],
            },
        }
    },
}
"""The defaults make a suspicious transaction."""
IMAGE_INPUT = {
    "type": "object",
    "required": ["INPUT"],
    "properties": {
        "INPUT": {
            "title": "Image",
            "description": "Scaled to 224 × 224 in the browser; the values lie between 0 and 1.",
            "type": "string",
            "contentMediaType": "image/*",
        }
    },
}
