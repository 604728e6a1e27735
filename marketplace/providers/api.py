"""Providers over the management API: public to read, opened and described by organisations."""

from typing import Any

from django.db import transaction
from rest_framework import mixins, serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from marketplace.accounts.access import is_staff, organisation_acted_for
from marketplace.accounts.permissions import Permission
from marketplace.catalog import api as catalog
from marketplace.catalog.models import Provider
from marketplace.providers.access import provider_demand
from marketplace.providers.services import (
    provider_commission_set,
    provider_open,
    provider_update,
)
from marketplace.shared.known_fields import KnownFieldsOnly


class ProviderSerializer(KnownFieldsOnly, catalog.ProviderSerializer):
    """``organisation`` opens it; ``commission_bps`` is set by staff. Neither is shown to all."""

    organisation = serializers.SlugField(write_only=True, required=False)
    commission_bps = serializers.IntegerField(
        min_value=0, max_value=10_000, write_only=True, required=False
    )

    class Meta(catalog.ProviderSerializer.Meta):
        fields = [*catalog.ProviderSerializer.Meta.fields, "organisation", "commission_bps"]
        read_only_fields = ["emulated"]


class ProviderViewSet(mixins.CreateModelMixin, mixins.UpdateModelMixin, catalog.ProviderViewSet):
    """Who offers deployments. An organisation opens and describes its own."""

    permission_classes = [IsAuthenticatedOrReadOnly]
    serializer_class = ProviderSerializer
    queryset = Provider.objects.all()
    http_method_names = ["get", "post", "patch", "head", "options"]

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = dict(serializer.validated_data)
        if values.pop("commission_bps", None) is not None:
            raise PermissionDenied("Staff set the commission, once the provider is open.")
        organisation = organisation_acted_for(
            self.request, values.pop("organisation", ""), Permission.OFFERINGS
        )
        serializer.instance = provider_open(organisation=organisation, **values)

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        provider = self.get_object()
        values = dict(serializer.validated_data)
        commission = values.pop("commission_bps", None)
        if commission is not None and not is_staff(self.request):
            raise PermissionDenied("The commission is set by the platform's staff.")
        if values.pop("slug", provider.slug) != provider.slug:
            raise serializers.ValidationError(
                {"slug": "A slug is for good: models are named by it."}
            )
        if values.pop("organisation", None) is not None:
            raise serializers.ValidationError({"organisation": "A provider stays where it is."})
        if values:
            provider_demand(self.request, provider)
        with transaction.atomic():
            if commission is not None:
                provider_commission_set(provider=provider, commission_bps=commission)
            if values:
                provider_update(provider=provider, **values)
        provider.refresh_from_db()
        serializer.instance = provider
