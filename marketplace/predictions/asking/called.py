"""What a prediction is asked of: a model, a name that stands for one, or a pipeline."""

from dataclasses import dataclass
from typing import Any

from marketplace.catalog.models import AIModel
from marketplace.inference.errors import JobError
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipeline_wanted
from marketplace.predictions.calls.call import StandIn, call_of
from marketplace.predictions.running.stages import input_check
from marketplace.predictions.selectors import model_wanted, stand_in, versions_served
from marketplace.presets.naming import NameInvalid


@dataclass(frozen=True, slots=True)
class Called:
    """What is asked of: a model or a pipeline. ``stand_in`` is the name by which the call asks.

    ``pinned`` says that the version was asked for.
    """

    version: str
    pinned: bool
    model: AIModel | None = None
    pipeline: Pipeline | None = None
    stand_in: StandIn | None = None

    @property
    def name(self) -> str:
        """What the call names if that is no model's own name."""
        return self.stand_in.name if self.stand_in is not None else ""

    def check(self, given: Any) -> None:
        """Raise :class:`InputInvalid` for an input that it cannot take."""
        asked = self.stand_in or self.model
        if asked is not None:
            call_of(asked, given)
        elif self.pipeline is not None:
            input_check(self.pipeline.definition, given)


def called(name: str, version: str, organisation_id: int, param: str = "model") -> Called:
    """What the organisation may call by this name, in this version or, with "", in any.

    Raises :class:`JobError`, with ``param`` where there is nothing of the name.
    """
    # First what it has itself: a model of the same name may have come later, from anybody.
    pipeline = pipeline_wanted(organisation_id, name)
    model = model_wanted(name) if pipeline is None else None
    found = None
    if model is None and pipeline is None:
        found = _stand_in(name, organisation_id, param)
    served: list[str] = []
    if model is not None:
        served = versions_served(model)
    elif found is not None:
        model = found.model
    elif pipeline is not None:
        served = [str(pipeline.version)]
    else:
        raise JobError(
            f"model {name!r} does not exist; GET /v1/models and GET /v1/pipelines list those "
            "that do",
            code="model_not_found",
            param=param,
            status=404,
        )
    if version and version not in served:
        raise JobError(
            f"version {version!r} of {name} is not served; served: {', '.join(served) or 'none'}",
            code="model_not_found",
            param="version",
            status=404,
        )
    newest = served[0] if served else ""
    return Called(version or newest, bool(version), model, pipeline, found)


def _stand_in(name: str, organisation_id: int, param: str) -> StandIn | None:
    try:
        return stand_in(name, organisation_id)
    except NameInvalid as error:
        status = 404 if error.code == "preset_not_found" else 422
        raise JobError(str(error), code=error.code, param=param, status=status) from None
