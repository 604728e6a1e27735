"""Reading pipelines."""

from collections.abc import Collection

from django.db.models import Q, QuerySet

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.pipelines.definition import Definition
from marketplace.pipelines.models import Pipeline


def pipelines_callable(organisation_id: int) -> QuerySet[Pipeline]:
    """What an organisation may call: everybody's and its own, each in its last version."""
    return pipelines_seen([organisation_id])


def pipelines_seen(organisation_ids: Collection[int]) -> QuerySet[Pipeline]:
    """What somebody in these organisations may see: everybody's and theirs."""
    theirs = Q(organisation_id=None) | Q(organisation_id__in=organisation_ids)
    return pipelines_last().filter(theirs, published=True)


def pipelines_last() -> QuerySet[Pipeline]:
    """Every pipeline in its last version, withdrawn ones too, by name."""
    last = Pipeline.objects.order_by("name", "-version").distinct("name").values("pk")
    return Pipeline.objects.filter(pk__in=last).select_related("organisation").order_by("name")


def pipeline_wanted(organisation_id: int, name: str) -> Pipeline | None:
    """The pipeline of that name, if the organisation may call it."""
    return pipelines_callable(organisation_id).filter(name=name).first()


def models_of(definition: Definition) -> dict[str, AIModel]:
    """By name the models of its stages; one that is not offered any more is left out."""
    names = {stage.model for stage in definition.stages}
    return {model.name: model for model in models_published().filter(name__in=names)}
