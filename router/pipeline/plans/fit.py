"""Whether a request fits the model that it asks for, on any worker."""

from router.domain.catalog import RESPONSES, Model
from router.domain.errors import CONTEXT_EXCEEDED, RequestInvalid, WorkerRefused
from router.domain.protocols import KINDS, TASK_KINDS
from router.domain.request import InferenceRequest
from router.pipeline.plans.routing_table import Route


def check_fit(model: Model, request: InferenceRequest) -> None:
    """Raises ``RequestInvalid``, or ``WorkerRefused`` for a prompt that is too long.

    No worker could answer such a request, so none of them is blamed.
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
        # The same error that every worker gives: clients shorten their prompts by its code.
        raise WorkerRefused(
            f"model {model.name!r} has a context of {context} tokens, and the prompt has "
            f"{request.prompt_tokens_min} at least; shorten it",
            status=400,
            code=CONTEXT_EXCEEDED,
            param=KINDS[request.kind].prompt,
        )


def check_said(route: Route, request: InferenceRequest) -> None:
    """Raises ``RequestInvalid`` for what no chat can say, where no worker speaks responses.

    A call with other models to fall back to may be said to one of them.
    """
    told = request.as_response
    if told is None or not told.unsaid or request.fallbacks:
        return
    if not any(RESPONSES in deployment.parameters for deployment in route.deployments):
        raise RequestInvalid(told.unsaid, param=told.param)
