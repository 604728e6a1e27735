"""What a prediction is asked of: a model or a pipeline, by its name."""

from dataclasses import dataclass
from typing import Any

from marketplace.catalog.models import AIModel
from marketplace.inference.errors import JobError
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipeline_wanted
from marketplace.predictions.calls.call import call_of
from marketplace.predictions.running.stages import input_check
from marketplace.predictions.selectors import model_wanted, version_served


@dataclass(frozen=True, slots=True)
class Called:
    """What is asked of: a model or a pipeline."""

    version: str
    model: AIModel | None = None
    pipeline: Pipeline | None = None

    def check(self, given: Any) -> None:
        """Raise :class:`InputInvalid` for an input that it cannot take."""
        if self.model is not None:
            call_of(self.model, given)
        elif self.pipeline is not None:
            input_check(self.pipeline.definition, given)


def called(name: str, version: str, organisation_id: int, param: str = "model") -> Called:
    """What the organisation may call by this name, in this version or, with "", in any.

    Raises :class:`JobError`, with ``param`` where there is nothing of the name.
    """
    model = model_wanted(name)
    pipeline = pipeline_wanted(organisation_id, name) if model is None else None
    if model is not None:
        served = version_served(model)
    elif pipeline is not None:
        served = str(pipeline.version)
    else:
        raise JobError(
            f"model {name!r} does not exist; GET /v1/models and GET /v1/pipelines list those "
            "that do",
            code="model_not_found",
            param=param,
            status=404,
        )
    if version and version != served:
        raise JobError(
            f"version {version!r} of {name} is not served; {served or 'none'} is",
            code="model_not_found",
            param="version",
            status=404,
        )
    return Called(served or version, model, pipeline)
