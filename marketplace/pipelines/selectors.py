"""Reading pipelines."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from marketplace.pipelines.models import Pipeline


def pipelines_callable(organisation_id: int) -> QuerySet[Pipeline]:
    """What an organisation may call: everybody's and its own, each in its last version."""
    own = Q(organisation_id=None) | Q(organisation_id=organisation_id)
    last = Pipeline.objects.order_by("name", "-version").distinct("name").values("pk")
    return Pipeline.objects.filter(own, pk__in=last, published=True).order_by("name")


def pipeline_wanted(organisation_id: int, name: str) -> Pipeline | None:
    """The pipeline of that name, if the organisation may call it."""
    return pipelines_callable(organisation_id).filter(name=name).first()
