"""Rankings over the management API: public, as their page is."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.catalog.models import Task
from marketplace.storefront.rankings.selectors import BY, Ranked, app_ranking, ranking
from marketplace.usage.models import RankingWindow


class RankingQuery(serializers.Serializer[Any]):
    """What to rank by, over which window, and of which task."""

    by = serializers.ChoiceField(choices=sorted(BY), default="calls")
    window = serializers.ChoiceField(
        choices=RankingWindow.choices, default=RankingWindow.WEEK.value
    )
    task = serializers.ChoiceField(choices=Task.choices, required=False)


class RankedSerializer(serializers.Serializer[Any]):
    """Latencies in ms, of ``completed`` calls; ``tokens_per_s`` of one call."""

    place = serializers.IntegerField()
    model = serializers.CharField(source="model.name")
    emulated = serializers.BooleanField(source="model.emulated")
    calls = serializers.IntegerField(source="figures.calls")
    completed = serializers.IntegerField(source="figures.completed")
    tokens = serializers.IntegerField(source="figures.tokens")
    ttft_ms_p50 = serializers.FloatField(source="figures.ttft_ms_p50", allow_null=True)
    total_ms_p50 = serializers.FloatField(source="figures.total_ms_p50", allow_null=True)
    tokens_per_s = serializers.FloatField(source="figures.tokens_per_s", allow_null=True)
    computed_at = serializers.DateTimeField(source="figures.computed_at")


class AppQuery(serializers.Serializer[Any]):
    """What to rank applications by, and over which window."""

    by = serializers.ChoiceField(choices=["calls", "tokens"], default="calls")
    window = serializers.ChoiceField(
        choices=RankingWindow.choices, default=RankingWindow.WEEK.value
    )


class RankedAppSerializer(serializers.Serializer[Any]):
    """An application by the host name and title that its calls give."""

    place = serializers.IntegerField()
    app = serializers.CharField(source="figures.app")
    title = serializers.CharField(source="figures.title", allow_blank=True)
    calls = serializers.IntegerField(source="figures.calls", help_text="Completed ones.")
    tokens = serializers.IntegerField(source="figures.tokens")
    computed_at = serializers.DateTimeField(source="figures.computed_at")


class RankingViewSet(viewsets.ViewSet):
    """Models by use and by measured speed; applications by use."""

    permission_classes = [AllowAny]

    @extend_schema(parameters=[RankingQuery], responses=RankedSerializer(many=True))
    def list(self, request: Request) -> Response:
        """The first fifty. Speeds of too few calls are left out."""
        query = RankingQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        ranked: list[Ranked] = ranking(
            BY[asked["by"]], RankingWindow(asked["window"]), task=asked.get("task", "")
        )
        return Response(RankedSerializer(ranked, many=True).data)

    @extend_schema(parameters=[AppQuery], responses=RankedAppSerializer(many=True))
    @action(detail=False)
    def apps(self, request: Request) -> Response:
        """The first twenty applications by use, of the organisations that let theirs be listed."""
        query = AppQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        ranked = app_ranking(BY[asked["by"]], RankingWindow(asked["window"]))
        return Response(RankedAppSerializer(ranked, many=True).data)
