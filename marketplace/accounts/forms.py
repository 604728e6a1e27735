"""Forms of people and organisations."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation, Role, User

SLUG_MAX = 60


class SignUpFields(forms.Form):
    """Fields that allauth's sign-up form has besides address and password."""

    full_name = forms.CharField(
        label=_("Your name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    field_order = ("full_name", "email", "password1")

    def signup(self, request: HttpRequest, user: User) -> None:
        """Called by allauth once the user is saved."""
        user.full_name = self.cleaned_data["full_name"]
        user.save(update_fields=["full_name"])


class ProfileForm(forms.Form):
    """Name and language of a person."""

    full_name = forms.CharField(
        label=_("Your name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    language = forms.ChoiceField(
        label=_("Language"),
        required=False,
        choices=[("", _("Browser's setting")), *settings.LANGUAGES],
    )


class OrganisationForm(forms.Form):
    """An organisation's name; the slug is made from it."""

    name = forms.CharField(label=_("Name of the organisation"), max_length=120)

    def slug(self) -> str:
        """An unused slug made from the name."""
        base = slugify(self.cleaned_data["name"])[: SLUG_MAX - 3] or "organisation"
        like = Organisation.objects.filter(slug__startswith=base)
        taken = set(like.values_list("slug", flat=True))
        free = (f"{base}-{n}" for n in range(2, len(taken) + 3))
        return base if base not in taken else next(slug for slug in free if slug not in taken)


class InvitationForm(forms.Form):
    """The address to invite, and its role."""

    email = forms.EmailField(
        label=_("Email"), widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.DEVELOPER)


class RoleForm(forms.Form):
    """A member's role."""

    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class DeleteForm(forms.Form):
    """Confirms the deletion of an account by typing its address."""

    email = forms.CharField(
        label=_("Type your address to confirm"),
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        self.user = user
        super().__init__(*args, **kwargs)

    def clean_email(self) -> str:
        """The address. ``ValidationError`` unless it is the person's own."""
        email: str = self.cleaned_data["email"]
        if email.strip().lower() != self.user.email.lower():
            raise forms.ValidationError(_("This is not your address."))
        return email
