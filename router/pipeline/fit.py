"""Whether a request fits the model that it asks for, whichever worker would serve it."""

from router.domain.catalog import Model
from router.domain.errors import RequestInvalid, WorkerRefused
from router.domain.protocols import TASK_KINDS
from router.domain.request import InferenceRequest, Kind


def check_fit(model: Model, request: InferenceRequest) -> None:
    """Raises ``RequestInvalid``, or ``WorkerRefused`` for too long a prompt, where no worker could
    answer, and so none is to be blamed.
    """
    if request.kind not in TASK_KINDS[model.task]:
        raise RequestInvalid(
            f"model {model.name!r} is a {model.task} model and cannot be called this way; see the "
            "API tab of its page",
            param="model",
        )
    if request.modalities and model.takes is not None:
        foreign = request.modalities.difference(model.takes)
        if foreign:
            raise RequestInvalid(
                f"model {model.name!r} takes {', '.join(('text', *model.takes))}, and the messages "
                f"hold {', '.join(sorted(foreign))}",
                param="messages",
            )
    context = model.context_tokens_max
    if context and request.prompt_tokens_min > context:
        # As every worker would tell it: by that code clients shorten their prompts.
        raise WorkerRefused(
            f"model {model.name!r} has a context of {context} tokens, and the prompt has "
            f"{request.prompt_tokens_min} at least; shorten it",
            status=400,
            code="context_length_exceeded",
            param="prompt" if request.kind is Kind.COMPLETION else "messages",
        )
