"""Pipelines over the management API: defined, checked, published anew, and retired."""

import json
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import (
    is_staff,
    organisation_acted_for,
    organisations_seen_by,
)
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import Organisation
from marketplace.accounts.permissions import Permission
from marketplace.catalog.models import Offer
from marketplace.pipelines.definition import DefinitionInvalid
from marketplace.pipelines.graph import graph_of
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import models_of, pipelines_last
from marketplace.pipelines.services import pipeline_apply, pipeline_checked, pipeline_withdraw
from marketplace.predictions.stages.pipeline import pipeline_shown
from router.domain.pricing import PRICE_FIELDS

VERSIONS_SHOWN = 100


class TypedSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField(help_text="As far as it is known, like “array of number”.")


class EdgeSerializer(serializers.Serializer[Any]):
    """The value at ``path`` of ``source`` comes to ``place``."""

    source = serializers.CharField(help_text="A stage before, or “input”.")  # type: ignore[assignment]
    path = serializers.CharField()
    place = serializers.CharField()
    kind = serializers.CharField()


class StageNodeSerializer(serializers.Serializer[Any]):
    """``layer`` counts from 1 how many stages must have answered, with itself."""

    name = serializers.CharField()
    model = serializers.CharField()
    layer = serializers.IntegerField()
    takes = EdgeSerializer(many=True)
    gives = TypedSerializer(many=True)


class GraphSerializer(serializers.Serializer[Any]):
    inputs = TypedSerializer(many=True)
    stages = StageNodeSerializer(many=True)
    outputs = EdgeSerializer(many=True)


class StageTimeSerializer(serializers.Serializer[Any]):
    """Means over the newest calls of this version that succeeded; at most 500."""

    calls = serializers.IntegerField()
    queue_ms = serializers.FloatField()
    predict_ms = serializers.FloatField()
    cost_nano = serializers.FloatField()
    share = serializers.FloatField(help_text="Of the time of all stages, 0 to 1.")


class StagePriceSerializer(serializers.ModelSerializer[Offer]):
    class Meta:
        model = Offer
        fields = ["id", *PRICE_FIELDS]


class StageFiguresSerializer(serializers.Serializer[Any]):
    """``offered`` is false where the model is gone, ``time`` null where nobody called yet."""

    name = serializers.CharField(source="node.name")
    model = serializers.CharField(source="node.model")
    offered = serializers.SerializerMethodField()
    cheapest = StagePriceSerializer(source="offer", allow_null=True)
    time = StageTimeSerializer(allow_null=True)

    def get_offered(self, stage: Any) -> bool:
        return stage.model is not None


class PipelineSerializer(serializers.ModelSerializer[Pipeline]):
    """In its last version. Without an ``organisation`` it is everybody's."""

    organisation = serializers.SlugField(source="organisation.slug", allow_null=True, default=None)
    definition = serializers.SerializerMethodField()

    class Meta:
        model = Pipeline
        fields = ["id", "name", "version", "organisation", "published", "created_at", "definition"]

    @extend_schema_field(serializers.DictField())
    def get_definition(self, pipeline: Pipeline) -> Any:
        return json.loads(pipeline.definition_text)


class PipelineDetailSerializer(PipelineSerializer):
    """With its graph, and what is known of each stage's price and time."""

    graph = serializers.SerializerMethodField()
    figures = serializers.SerializerMethodField()

    class Meta(PipelineSerializer.Meta):
        fields = [*PipelineSerializer.Meta.fields, "graph", "figures"]

    def to_representation(self, instance: Pipeline) -> Any:
        self._shown = pipeline_shown(instance)
        return super().to_representation(instance)

    @extend_schema_field(GraphSerializer)
    def get_graph(self, pipeline: Pipeline) -> Any:
        return GraphSerializer(self._shown.graph).data

    @extend_schema_field(StageFiguresSerializer(many=True))
    def get_figures(self, pipeline: Pipeline) -> Any:
        return StageFiguresSerializer(self._shown.stages, many=True).data


class DefinitionSerializer(serializers.Serializer[Any]):
    """What `pipelines apply` takes as a file."""

    definition = serializers.DictField(help_text="As docs/how-to/run-a-pipeline.md has it.")

    def validate_definition(self, value: dict[str, Any]) -> bytes:
        return json.dumps(value, ensure_ascii=False).encode()


class OwnedDefinitionSerializer(DefinitionSerializer):
    organisation = serializers.SlugField(
        required=False, allow_null=True, default=None, help_text="Staff leave it out: everybody's."
    )


class PipelineViewSet(viewsets.ReadOnlyModelViewSet[Pipeline]):
    """Models made of models: the caller's organisations' own, and everybody's."""

    permission_classes = [IsAuthenticated]
    serializer_class = PipelineSerializer
    queryset = Pipeline.objects.all()
    filterset_class = OrganisationFilter
    lookup_field = "name"
    lookup_value_regex = "[^/]+/[^/]+"

    def get_queryset(self) -> QuerySet[Pipeline]:
        rows = pipelines_last().order_by("-id")
        if is_staff(self.request):
            return rows
        own = Q(organisation__in=organisations_seen_by(self.request))
        return rows.filter(own | Q(organisation=None, published=True))

    @extend_schema(responses=PipelineDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One with its graph, prices, and each stage's share of the time of real calls."""
        return Response(PipelineDetailSerializer(self.get_object()).data)

    @extend_schema(request=OwnedDefinitionSerializer, responses={201: PipelineDetailSerializer})
    def create(self, request: Request) -> Response:
        """Define one. Errors name the place of each thing that is wrong."""
        text, owner = self._asked(request)
        name = json.loads(text).get("name")
        there = pipelines_last().filter(organisation=owner, published=True)
        if isinstance(name, str) and there.filter(name=name[:200]).exists():
            raise _refused(("name", f"{name} is there: publish a version of it"))
        return _applied(text, owner)

    @extend_schema(
        request=OwnedDefinitionSerializer,
        responses=GraphSerializer,
        operation_id="v1_pipelines_validate",
    )
    @action(detail=False, methods=["post"], pagination_class=None, filterset_class=None)
    def validate(self, request: Request) -> Response:
        """Check a definition, and say its graph. Nothing is kept."""
        text, owner = self._asked(request)
        try:
            definition = pipeline_checked(text=text, organisation=owner)
        except DefinitionInvalid as error:
            raise _invalid(error) from error
        graph = graph_of(definition, models_of(definition))
        return Response(GraphSerializer(graph).data)

    @extend_schema(methods=["get"], request=None, responses=PipelineSerializer(many=True))
    @extend_schema(
        methods=["post"],
        request=DefinitionSerializer,
        responses={200: PipelineDetailSerializer, 201: PipelineDetailSerializer},
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None, filterset_class=None)
    def versions(self, request: Request, name: str) -> Response:
        """Its versions, newest first; ``POST`` publishes the next, 200 where nothing changed."""
        last = self.get_object()
        if request.method != "POST":
            rows = Pipeline.objects.filter(name=last.name).select_related("organisation")
            shown = rows.order_by("-version")[:VERSIONS_SHOWN]
            return Response(PipelineSerializer(shown, many=True).data)
        owner = _demand(request, last.organisation)
        asked = DefinitionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        text = asked.validated_data["definition"]
        if json.loads(text).get("name") != last.name:
            raise _refused(("name", f"this is of {last.name}"))
        return _applied(text, owner)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, name: str) -> Response:
        """Retire it: what was asked of it still runs, and nobody can ask again."""
        last = self.get_object()
        _demand(request, last.organisation)
        pipeline_withdraw(name=last.name)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _asked(self, request: Request) -> tuple[bytes, Organisation | None]:
        asked = OwnedDefinitionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        slug = asked.validated_data["organisation"]
        owner = slug and organisation_acted_for(request, slug, Permission.OFFERINGS)
        return asked.validated_data["definition"], owner or _demand(request, None)


def _demand(request: Request, owner: Organisation | None) -> Organisation | None:
    """Raises unless the caller may change what is ``owner``'s; everybody's is for staff."""
    if owner is not None:
        return organisation_acted_for(request, owner.slug, Permission.OFFERINGS)
    if not is_staff(request):
        raise PermissionDenied("Name your organisation: everybody's pipelines are for staff.")
    return None


def _applied(text: bytes, owner: Organisation | None) -> Response:
    try:
        pipeline, is_new = pipeline_apply(text=text, organisation=owner)
    except DefinitionInvalid as error:
        raise _invalid(error) from error
    code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
    return Response(PipelineDetailSerializer(pipeline).data, code)


def _invalid(error: DefinitionInvalid) -> serializers.ValidationError:
    return _refused(*((problem.at, problem.message) for problem in error.problems))


def _refused(*problems: tuple[str, str | Promise]) -> serializers.ValidationError:
    """Fields like ``definition.stages[1].input``; "" is the definition as a whole."""
    found: dict[str, list[Any]] = {}
    for at, message in problems:
        found.setdefault(f"definition.{at}".rstrip("."), []).append(message)
    return serializers.ValidationError(found)
