"""Invitations over the management API."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import (
    organisation_acted_for,
    organisations_allowing,
    organisations_seen_by,
)
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.invitations.services import (
    invitation_create,
    invitation_resend,
    invitation_revoke,
)
from marketplace.accounts.invitations.tokens import invitation_url
from marketplace.accounts.models import Invitation, Role, User
from marketplace.accounts.permissions import Permission, permission_over_member


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    """``url`` is for people who may give the role, if no email is set up."""

    organisation = serializers.SlugField()
    role = serializers.ChoiceField(Role.choices, default=Role.DEVELOPER)
    status = serializers.CharField(read_only=True)
    url = serializers.SerializerMethodField()

    class Meta:
        model = Invitation
        fields = [
            "id",
            "organisation",
            "email",
            "role",
            "status",
            "created_at",
            "expires_at",
            "accepted_at",
            "url",
        ]
        read_only_fields = ["created_at", "expires_at", "accepted_at"]

    def to_representation(self, instance: Invitation) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}

    def get_url(self, invitation: Invitation) -> str | None:
        """The link, or null."""
        inviting = self.context.get("inviting", {})
        where = inviting.get(permission_over_member(invitation.role), ())
        handed_over = invitation.organisation_id in where
        shown = handed_over and not settings.MAIL_ON and invitation.status == "open"
        return invitation_url(invitation) if shown else None


class InvitationViewSet(
    mixins.CreateModelMixin, mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Invitation]
):
    """Invitations of the caller's organisations, for owners and admins. Deleting one revokes it."""

    serializer_class = InvitationSerializer
    queryset = Invitation.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Invitation]:
        return Invitation.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    def get_serializer_context(self) -> dict[str, Any]:
        context = dict(super().get_serializer_context())
        # drf-spectacular builds the schema without a user.
        if getattr(self, "swagger_fake_view", False):
            return context
        inviting = {
            permission: set(
                organisations_allowing(self.request, permission).values_list("pk", flat=True)
            )
            for permission in (Permission.MEMBERS, Permission.OWNERS)
        }
        return context | {"inviting": inviting}

    def perform_create(self, serializer: serializers.BaseSerializer[Invitation]) -> None:
        values = serializer.validated_data
        role = Role(values["role"])
        organisation = organisation_acted_for(
            self.request, values["organisation"], permission_over_member(role)
        )
        serializer.instance = invitation_create(
            organisation=organisation,
            email=values["email"],
            role=role,
            invited_by=self.request.user if isinstance(self.request.user, User) else None,
        )

    @extend_schema(request=None, responses=InvitationSerializer)
    @action(detail=True, methods=["post"])
    def resend(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A new link, good for another week; the last one is void."""
        invitation = self.get_object()
        self._demand(invitation)
        return Response(self.get_serializer(invitation_resend(invitation=invitation)).data)

    def perform_destroy(self, instance: Invitation) -> None:
        self._demand(instance)
        invitation_revoke(invitation=instance)

    def _demand(self, invitation: Invitation) -> None:
        needed = permission_over_member(invitation.role)
        organisation_acted_for(self.request, invitation.organisation.slug, needed)
