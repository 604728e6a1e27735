"""Names of checks and advice on their findings: stored as codes, shown as text."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Check(StrEnum):
    """In the order in which they run."""

    REACHABLE = "reachable"
    HEALTH = "health"
    MODEL_LISTED = "model_listed"
    METADATA = "metadata"
    PLAIN_CALL = "plain_call"
    USAGE = "usage"
    MAX_TOKENS = "max_tokens"
    STREAM = "stream"
    STREAM_USAGE = "stream_usage"
    BAD_REQUEST = "bad_request"
    STOP = "stop"
    SEED = "seed"
    JSON = "json"
    TOOLS = "tools"
    RESPONSES = "responses"
    INFER = "infer"
    BINARY = "binary"
    BAD_SHAPE = "bad_shape"
    CANCEL = "cancel"


LABELS: Mapping[str, Promise] = {
    Check.REACHABLE: _("Reachable"),
    Check.HEALTH: _("Health"),
    Check.MODEL_LISTED: _("Knows the model"),
    Check.METADATA: _("Metadata matches the tensors"),
    Check.PLAIN_CALL: _("A plain call"),
    Check.USAGE: _("Usage adds up"),
    Check.MAX_TOKENS: _("max_tokens is respected"),
    Check.STREAM: _("Streams to its end"),
    Check.STREAM_USAGE: _("Usage in the stream"),
    Check.BAD_REQUEST: _("Refuses a bad request"),
    Check.STOP: _("Supports stop"),
    Check.SEED: _("Supports seed"),
    Check.JSON: _("Supports response_format"),
    Check.TOOLS: _("Supports tools"),
    Check.RESPONSES: _("Speaks the Responses API"),
    Check.INFER: _("An infer round trip"),
    Check.BINARY: _("Binary tensors"),
    Check.BAD_SHAPE: _("Refuses a bad shape"),
    Check.CANCEL: _("Stops when the caller leaves"),
}

ADVICE: Mapping[str, Promise] = {
    "ok": _("Nothing to do."),
    "no_answer": _("No answer: %(why)s. Check the URL, that the server runs, and its firewall."),
    "address_refused": _("%(why)s. Use a public address, or ask the installation's operator."),
    "unhealthy": _("It answered %(status)s. It must answer 200 to GET %(path)s when it is ready."),
    "model_missing": _("It knows %(known)s, not %(model)s. Correct the upstream model's name."),
    "no_model_list": _(
        "GET %(path)s gave no list of models: serve one, so that names can be seen."
    ),
    "model_not_ready": _("It answered %(status)s. Load the model, or correct the upstream name."),
    "http_error": _("It answered %(status)s instead of 200. Its log says why."),
    "not_json": _("The answer is not the JSON that the protocol defines: %(why)s."),
    "no_text": _("The answer has no text. Check the model's chat template."),
    "no_vector": _("The answer has no vector of numbers in data[0].embedding."),
    "no_ranking": _("The answer has no results, each with an index and a relevance_score."),
    "no_judgement": _("The answer has no results, each with flagged, one for each input."),
    "no_image": _("The answer has no image in data[0]: give b64_json or url."),
    "no_sound": _("The answer is %(type)s: send sound, with a type that begins with audio/."),
    "no_usage": _(
        "The answer has no usage. Without token counts, a call cannot be billed: report usage."
    ),
    "usage_wrong": _(
        "%(prompt)s + %(completion)s is not %(total)s, or a count is missing: correct it."
    ),
    "overcounted": _(
        "%(tokens)s tokens were counted for %(most)s bytes of answer: the excess is not paid."
    ),
    "too_many_tokens": _(
        "%(tokens)s tokens where at most %(most)s were requested: customers pay for them."
    ),
    "no_finish_reason": _("finish_reason is %(reason)s for a cut-off answer. It must be “length”."),
    "not_a_stream": _("stream was requested, but %(type)s came. Answer with text/event-stream."),
    "no_done": _(
        "The stream ended without “data: [DONE]”: a caller cannot tell it from a broken one."
    ),
    "one_piece": _("The whole answer came as one chunk: send tokens as they are generated."),
    "no_stream_usage": _("stream_options.include_usage was requested, but no chunk had usage."),
    "bad_accepted": _(
        "A request without its input was answered with %(status)s: refuse it with 400."
    ),
    "bad_crash": _("A bad request was answered with %(status)s: it is the caller's error, so 400."),
    "error_shape": _(
        "The refusal has no “error” field that says what was wrong. Callers read it there."
    ),
    "stop_ignored": _(
        "The stop sequence %(stop)s is in the answer. Support stop, or do not claim it."
    ),
    "stop_unclear": _("The answer was too short to see whether stop is supported."),
    "seed_differs": _(
        "Two calls with the same seed differ. Batching can do that; else do not claim it."
    ),
    "json_broken": _("response_format json_object gave no JSON object. Do not claim it."),
    "json_cut": _("The JSON object was not finished within %(most)s tokens, so it was not judged."),
    "tools_refused": _("A call with tools was answered with %(status)s. Do not claim tools."),
    "tools_unused": _(
        "No tool was called although tool_choice required it. Do not claim tool_choice."
    ),
    "no_response": _(
        "The stream did not end with response.completed or response.incomplete. Do not claim "
        "responses."
    ),
    "cancel_ignored": _(
        "After callers left %(streams)s streams, a call took %(after)s ms, where %(alone)s ms "
        "is usual: the worker keeps generating for nobody. Stop when the connection closes."
    ),
    "cancel_unseen": _("Cannot be tested: the work ends too soon, or there are too many slots."),
    "tensors_differ": _("It says %(found)s; the listing says %(wanted)s. Correct one of them."),
    "no_tensors": _("The listing names no input tensors, so no request can be made."),
    "outputs_missing": _("The answer lacks %(missing)s."),
    "shape_wrong": _("%(tensor)s came as %(found)s; the listing says %(wanted)s."),
    "data_short": _("%(tensor)s has %(found)s values, but its shape has %(wanted)s."),
    "binary_refused": _(
        "Binary tensors were answered with %(status)s: without them large inputs are slow. "
        "Serve Triton's binary tensor data extension."
    ),
    "not_claimed": _("Not claimed by the listing."),
}


def advice_text(code: str, params: Mapping[str, Any]) -> str:
    """What to do, in the reader's language."""
    text = ADVICE.get(code)
    if text is None:
        return code
    try:
        return str(text) % params if "%(" in str(text) else str(text)
    except KeyError:
        return str(text)
