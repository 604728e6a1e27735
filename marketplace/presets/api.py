"""Presets over the management API."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import User
from marketplace.accounts.permissions import Permission
from marketplace.presets.models import Preset
from marketplace.presets.selectors import presets_last
from marketplace.presets.services import preset_retire, preset_save
from marketplace.shared.known_fields import KnownFieldsOnly


class PresetSerializer(KnownFieldsOnly, serializers.ModelSerializer[Preset]):
    """In its last version. ``parameters`` are the other fields of a call's body."""

    organisation = serializers.SlugField(source="organisation.slug")
    parameters = serializers.DictField(required=False)

    class Meta:
        model = Preset
        fields = [
            "id",
            "organisation",
            "name",
            "version",
            "model",
            "system",
            "parameters",
            "retired",
            "created_at",
        ]
        read_only_fields = ["version", "retired", "created_at"]
        # Saving one that is there makes its next version.
        validators: list[Any] = []


class PresetViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Preset]):
    """What calls say by a name, in the last version. Deleting retires; its versions stay."""

    serializer_class = PresetSerializer
    queryset = Preset.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Preset]:
        return presets_last().filter(organisation__in=organisations_seen_by(self.request))

    @extend_schema(responses={200: PresetSerializer, 201: PresetSerializer})
    def create(self, request: Request) -> Response:
        """Make a preset, or its next version; 200 where nothing changed."""
        wanted = PresetSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        slug = values.pop("organisation")["slug"]
        organisation = organisation_acted_for(request, slug, Permission.KEYS)
        person = request.user if isinstance(request.user, User) else None
        try:
            made, is_new = preset_save(organisation=organisation, created_by=person, **values)
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(PresetSerializer(made).data, code)

    def perform_destroy(self, instance: Preset) -> None:
        organisation_acted_for(self.request, instance.organisation.slug, Permission.KEYS)
        preset_retire(preset=instance)
