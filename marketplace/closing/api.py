"""Closing an organisation over the management API: its owners, in a browser's session."""

from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from marketplace.accounts.access import organisation_acted_for
from marketplace.accounts.models import Organisation, User
from marketplace.accounts.permissions import Permission
from marketplace.closing.forms import CloseForm
from marketplace.closing.selectors import closing_of
from marketplace.closing.services import organisation_close
from marketplace.shared.known_fields import KnownFieldsOnly


class ClosingSerializer(serializers.Serializer[Any]):
    """``effects`` are sentences on what ends, and what stays."""

    balance_nano = serializers.IntegerField()
    owed_nano = serializers.IntegerField()
    earned_nano = serializers.IntegerField(help_text="Earned as a provider, and not paid out.")
    effects = serializers.ListField(child=serializers.CharField())


class CloseSerializer(KnownFieldsOnly):
    name = serializers.CharField(max_length=120, help_text="The organisation's name, to confirm.")


class CloseView(APIView):
    """For an organisation's owners."""

    @extend_schema(operation_id="organisations_close_retrieve", responses=ClosingSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """What closing the organisation would mean."""
        return Response(ClosingSerializer(closing_of(self._organisation(request, slug))).data)

    @extend_schema(
        operation_id="organisations_close_create", request=CloseSerializer, responses={204: None}
    )
    def post(self, request: Request, slug: str) -> Response:
        """Close it for good. For its owners, who gave their password a moment ago."""
        organisation = self._organisation(request, slug)
        wanted = CloseSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            _demand_fresh(request._request)
        except ReauthenticationRequired:
            raise PermissionDenied("Give your password again, at /reauthenticate/.") from None
        form = CloseForm({**wanted.validated_data, "slug": slug}, organisation=organisation)
        if not form.is_valid():
            raise serializers.ValidationError({"name": [str(said) for said in form.errors["name"]]})
        by: User = request.user  # type: ignore[assignment]  # a key is no owner
        organisation_close(organisation=organisation, by=by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _organisation(self, request: Request, slug: str) -> Organisation:
        return organisation_acted_for(request, slug, Permission.CLOSE)


@reauthentication_required  # type: ignore[untyped-decorator]
def _demand_fresh(request: HttpRequest) -> None:
    """Raises ``ReauthenticationRequired`` unless the person has just signed in."""
