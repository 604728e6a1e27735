"""Users sign in by email; organisations own keys, credit and usage; memberships carry a role."""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from router.domain.personal import Personal


class UserManager(BaseUserManager["User"]):
    """Creates users by email; what Django's management commands call."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        if not email:
            raise ValueError("a user needs an email address")
        user = self.model(email=self.normalize_email(email), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)

    def get_by_natural_key(self, username: str | None) -> "User":
        # Case-insensitive: one inbox is one user, and a capital letter must not fail a sign-in.
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. ``is_staff`` opens Django's admin."""

    email = models.EmailField(_("email address"), max_length=254, unique=True)
    full_name = models.CharField(_("full name"), max_length=150, blank=True)
    language = models.CharField(
        _("language"), max_length=10, choices=settings.LANGUAGES, blank=True, default=""
    )
    """Empty follows the browser."""
    is_active = models.BooleanField(_("active"), default=True)
    is_staff = models.BooleanField(_("staff"), default=False)
    date_joined = models.DateTimeField(_("joined"), default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_unique",
                violation_error_message=_("A user with this email address exists already."),
            )
        ]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.full_name or self.email

    def get_short_name(self) -> str:
        return self.full_name.split(" ")[0] or self.email


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    DEVELOPER = "developer", _("Developer")
    BILLING = "billing", _("Billing")
    VIEWER = "viewer", _("Viewer")


class RateLimited(models.Model):
    """Rate limits that the routers apply; empty means no limit."""

    requests_per_minute = models.PositiveIntegerField(
        _("requests per minute"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    tokens_per_minute = models.PositiveIntegerField(
        _("tokens per minute"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    calls_at_once = models.PositiveIntegerField(
        _("calls at once"), null=True, blank=True, validators=[MinValueValidator(1)]
    )

    class Meta:
        abstract = True

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set."""
        return any((self.requests_per_minute, self.tokens_per_minute, self.calls_at_once))


LIMIT_FIELDS = ("requests_per_minute", "tokens_per_minute", "calls_at_once")
LIMIT_MAX = 2**31 - 1
"""The largest value of a limit's column."""


class Mask(models.TextChoices):
    """What is masked in calls before a worker has them."""

    EMAIL = Personal.EMAIL.value, _("Email addresses")
    PHONE = Personal.PHONE.value, _("Telephone numbers")
    CARD = Personal.CARD.value, _("Payment cards")
    IBAN = Personal.IBAN.value, _("Bank accounts (IBAN)")
    CPF = Personal.CPF.value, _("Brazilian persons (CPF)")
    CNPJ = Personal.CNPJ.value, _("Brazilian companies (CNPJ)")


class Masking(models.Model):
    """Kinds of personal data that routers mask in calls; none by default."""

    masks = ArrayField(
        models.CharField(max_length=10, choices=Mask.choices),
        default=list,
        blank=True,
        db_default=models.Value([], ArrayField(models.CharField(max_length=10))),
    )

    class Meta:
        abstract = True


class Guarded(models.Model):
    """A moderation model of the catalog that judges calls and their answers; none by default."""

    guard_model = models.CharField(
        _("moderation model"), max_length=120, blank=True, default="", db_default=""
    )
    guard_inputs = models.BooleanField(_("judges calls"), default=True, db_default=True)
    guard_answers = models.BooleanField(_("judges answers"), default=False, db_default=False)
    guard_passes = models.BooleanField(
        _("lets pass what it cannot judge"), default=False, db_default=False
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        if self.guard_model and not (self.guard_inputs or self.guard_answers):
            raise ValidationError(
                {"guard_model": _("Choose what it judges: calls, their answers, or both.")}
            )


GUARD_FIELDS = ("guard_model", "guard_inputs", "guard_answers", "guard_passes")
PLATFORM_PREFIX = "waypost-"
"""Slugs of the platform's own organisations, such as the one that pays for benchmarks. Public
figures leave out their calls (``usage/sql/deployments.sql``)."""


class Organisation(Masking, Guarded, RateLimited):
    """The customer that pays. Everything private belongs to exactly one organisation.

    One that was closed has neither members nor keys; what the books name of it stays.
    """

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)
    keeps_responses = models.BooleanField(_("keep responses"), default=True, db_default=True)
    lists_apps = models.BooleanField(_("list apps"), default=True, db_default=True)
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    members = models.ManyToManyField(User, through="Membership", related_name="organisations")

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self._state.adding and self.slug.startswith(PLATFORM_PREFIX):
            raise ValidationError(
                {
                    "slug": _("%(prefix)s is reserved for the platform.")
                    % {"prefix": PLATFORM_PREFIX}
                }
            )


class Membership(models.Model):
    """A person's role in an organisation."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.DEVELOPER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "user"], name="membership_unique"),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="membership_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()}"


INVITATION_TTL = timedelta(days=7)


class Invitation(models.Model):
    """An address invited by a link. ``sends`` is in the link: sending again voids the last one.

    Open until it is accepted, revoked or past ``expires_at``.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="invitations"
    )
    email = models.EmailField(_("email address"), max_length=254)
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.DEVELOPER)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    sends = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                "organisation",
                Lower("email"),
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_open_unique",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="invitation_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} · {self.get_role_display()}"

    @property
    def status(self) -> str:
        """``open``, ``accepted``, ``revoked`` or ``expired``, now."""
        if self.accepted_at is not None:
            return "accepted"
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "open"


class EndedSession(models.Model):
    """A session or membership that ended before its router tokens expire; routers refuse those.

    It names a membership or a browser's session; with neither, all tokens of the person end.
    ``user_id`` is a plain number, as the row outlives the person.
    """

    user_id = models.BigIntegerField()
    organisation_id = models.BigIntegerField(null=True)
    session = models.CharField(max_length=16, blank=True)
    expires_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.user_id} · {self.expires_until:%H:%M:%S}"


class Scope(models.TextChoices):
    INFERENCE = "inference", _("Call models")
    MANAGEMENT = "management", _("Use the management API")


def default_scopes() -> list[str]:
    """The scopes of a new key by default."""
    return [Scope.INFERENCE.value]


class ApiKey(Masking, Guarded, RateLimited):
    """A credential of an organisation. Only its digest is stored; the key itself is shown once.

    An empty ``models_allowed`` allows every model. ``masks`` come on top of the organisation's,
    and so does its guard.
    ``rules`` are limits of some of its calls, as ``marketplace.keys.limits.Rule``.
    ``last_used_at`` is exact to the minute.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    masked = models.CharField(max_length=32, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=20, choices=Scope.choices), default=default_scopes
    )
    models_allowed = ArrayField(models.CharField(max_length=120), default=list, blank=True)
    rules = models.JSONField(
        default=list, blank=True, db_default=models.Value([], models.JSONField())
    )
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    def get_scopes_labels(self) -> list[str]:
        """What the key may do, in words."""
        return [str(scope.label) for scope in Scope if scope in self.scopes]

    @property
    def status(self) -> str:
        """``active``, ``revoked`` or ``expired``, now."""
        if self.disabled_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"
