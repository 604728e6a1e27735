import uuid
from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
        ("catalog", "0001_baseline"),
        ("usage", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="PaymentProfile",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payment_profile",
                        to="accounts.organisation",
                    ),
                ),
                ("customer_id", models.CharField(max_length=255, null=True, unique=True)),
                ("payment_method_id", models.CharField(blank=True, max_length=255)),
            ],
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "purpose",
                    models.CharField(
                        choices=[("topup", "Top-up"), ("recharge", "Auto-recharge")], max_length=10
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for Stripe"),
                            ("succeeded", "Received"),
                            ("failed", "Failed"),
                            ("expired", "Not finished in time"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("amount_cents", models.PositiveBigIntegerField()),
                ("session_id", models.CharField(max_length=255, null=True, unique=True)),
                ("intent_id", models.CharField(max_length=255, null=True, unique=True)),
                ("payment_method_id", models.CharField(blank=True, max_length=255)),
                ("failure", models.TextField(blank=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, db_index=True)),
                ("concluded_at", models.DateTimeField(null=True)),
                ("asked_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-created_at"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_cents__gt", 0)),
                        name="billing_payment_amount_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["pending", "succeeded", "failed", "expired"])
                        ),
                        name="billing_payment_state_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("purpose", "recharge"), ("state", "pending")),
                        fields=("organisation",),
                        name="billing_payment_one_recharge_in_flight",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refunds",
                        to="billing.payment",
                    ),
                ),
                (
                    "stripe_id",
                    models.CharField(editable=False, max_length=255, null=True, unique=True),
                ),
                ("amount_cents", models.PositiveBigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("pending", "Under way"),
                            ("succeeded", "Refunded"),
                            ("failed", "Failed"),
                        ],
                        default="requested",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField()),
                (
                    "requested_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("failure", models.TextField(blank=True, editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-created_at"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_cents__gt", 0)),
                        name="billing_refund_amount_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["requested", "pending", "succeeded", "failed"])
                        ),
                        name="billing_refund_state_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="disputes",
                        to="billing.payment",
                    ),
                ),
                ("amount_cents", models.PositiveBigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("inquiry", "Inquiry"),
                            ("open", "Open"),
                            ("lost", "Lost"),
                            ("won", "Won"),
                        ],
                        default="inquiry",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["inquiry", "open", "lost", "won"])),
                        name="billing_dispute_state_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StripeEvent",
            fields=[
                ("event_id", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=100)),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("applied", "Applied"),
                            ("ignored", "Ignored"),
                            ("unknown", "About a payment that is not ours"),
                        ],
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "received_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), db_index=True
                    ),
                ),
            ],
            options={
                "ordering": ["-received_at"],
            },
        ),
        migrations.CreateModel(
            name="AutoRecharge",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="auto_recharge",
                        serialize=False,
                        to="accounts.organisation",
                    ),
                ),
                ("enabled", models.BooleanField(default=False)),
                ("threshold_cents", models.PositiveBigIntegerField()),
                ("amount_cents", models.PositiveBigIntegerField()),
                ("cap_cents", models.PositiveBigIntegerField()),
                ("failures", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("failure", models.TextField(blank=True, editable=False)),
                ("retry_at", models.DateTimeField(editable=False, null=True)),
                (
                    "changed_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("customer", "Customer"),
                            ("provider", "Provider's earnings"),
                            ("commission", "Platform commission"),
                            ("cash", "Cash received"),
                            ("expense", "Platform expense"),
                            ("grants", "Credit granted"),
                            ("payouts", "Paid out to providers"),
                            ("receivable", "Owed by a customer"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "organisation",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="billing_account",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "provider",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="billing_account",
                        to="catalog.provider",
                    ),
                ),
                (
                    "debtor",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="debt_account",
                        to="accounts.organisation",
                    ),
                ),
                ("currency", models.CharField(default="USD", editable=False, max_length=3)),
                ("posted_nano", models.BigIntegerField(db_default=0, default=0, editable=False)),
                ("held_nano", models.BigIntegerField(db_default=0, default=0, editable=False)),
                ("overdraft", models.BooleanField(db_default=False, default=False, editable=False)),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("held_nano__gte", 0)),
                        name="billing_account_held_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("overdraft", True),
                            ("posted_nano__gte", models.F("held_nano")),
                            _connector="OR",
                        ),
                        name="billing_account_not_overdrawn",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("debtor__isnull", True),
                                ("kind", "customer"),
                                ("organisation__isnull", False),
                                ("provider__isnull", True),
                            ),
                            models.Q(
                                ("debtor__isnull", True),
                                ("kind", "provider"),
                                ("organisation__isnull", True),
                                ("provider__isnull", False),
                            ),
                            models.Q(
                                ("debtor__isnull", False),
                                ("kind", "receivable"),
                                ("organisation__isnull", True),
                                ("posted_nano__lte", 0),
                                ("provider__isnull", True),
                            ),
                            models.Q(
                                ("debtor__isnull", True),
                                (
                                    "kind__in",
                                    ["commission", "cash", "expense", "grants", "payouts"],
                                ),
                                ("organisation__isnull", True),
                                ("provider__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="billing_account_owner_fits_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("overdraft", False),
                            ("kind__in", ["cash", "expense", "grants", "receivable"]),
                            _connector="OR",
                        ),
                        name="billing_account_overdraft_fits_kind",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("kind__in", ["commission", "cash", "expense", "grants", "payouts"])
                        ),
                        fields=("kind",),
                        name="billing_account_one_of_each_system_kind",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Statement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("invoice", "Invoice"), ("payout", "Payout statement")],
                        max_length=8,
                    ),
                ),
                ("number", models.CharField(max_length=24, unique=True)),
                ("year", models.PositiveSmallIntegerField()),
                ("sequence", models.PositiveIntegerField()),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="statements",
                        to="billing.account",
                    ),
                ),
                ("period", models.DateField(help_text="The first day of the month.")),
                ("issuer", models.CharField(max_length=200)),
                ("holder", models.CharField(max_length=200)),
                ("currency", models.CharField(max_length=3)),
                ("opening_nano", models.BigIntegerField()),
                ("closing_nano", models.BigIntegerField()),
                ("lines", models.JSONField()),
                ("issued_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("account", "period"), name="billing_statement_once"
                    ),
                    models.UniqueConstraint(
                        fields=("kind", "year", "sequence"), name="billing_statement_number_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period__day", 1)),
                        name="billing_statement_period_is_a_month",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Transfer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "debit",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="debits",
                        to="billing.account",
                    ),
                ),
                (
                    "credit",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credits",
                        to="billing.account",
                    ),
                ),
                ("amount_nano", models.BigIntegerField()),
                ("idem_key", models.TextField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("topup", "Top-up"),
                            ("grant", "Grant"),
                            ("charge_provider", "Charge, provider's part"),
                            ("charge_commission", "Charge, commission"),
                            ("reversal", "Reversal"),
                            ("cover", "Covered by the platform"),
                            ("payout", "Payout"),
                            ("refund", "Refund"),
                            ("refund_return", "Refund that failed"),
                            ("dispute", "Dispute"),
                            ("dispute_return", "Dispute won"),
                            ("debt_payment", "Payment of a debt"),
                            ("write_off", "Debt written off"),
                        ],
                        max_length=20,
                    ),
                ),
                ("request_id", models.UUIDField(db_index=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["created_at"], name="billing_transfer_by_time"
                    ),
                    models.Index(
                        condition=models.Q(
                            ("kind__in", ["charge_provider", "charge_commission"]),
                            ("request_id__isnull", False),
                            _negated=True,
                        ),
                        fields=["id"],
                        name="billing_transfer_of_no_call",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("idem_key",), name="billing_transfer_once"),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gt", 0)),
                        name="billing_transfer_amount_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("debit", models.F("credit")), _negated=True),
                        name="billing_transfer_two_accounts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "topup",
                                    "grant",
                                    "charge_provider",
                                    "charge_commission",
                                    "reversal",
                                    "cover",
                                    "payout",
                                    "refund",
                                    "refund_return",
                                    "dispute",
                                    "dispute_return",
                                    "debt_payment",
                                    "write_off",
                                ],
                            )
                        ),
                        name="billing_transfer_kind_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PaymentTransfer",
            fields=[
                (
                    "transfer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="payment_link",
                        serialize=False,
                        to="billing.transfer",
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="billing.payment",
                    ),
                ),
                (
                    "refund",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="billing.refund",
                    ),
                ),
                (
                    "dispute",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="billing.dispute",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="StaffTransfer",
            fields=[
                (
                    "transfer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="staff_order",
                        serialize=False,
                        to="billing.transfer",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="staff_transfers",
                        to="accounts.organisation",
                    ),
                ),
                ("reason", models.TextField()),
                (
                    "ordered_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-transfer_id"],
            },
        ),
        migrations.CreateModel(
            name="SystemOrder",
            fields=[
                (
                    "transfer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="system_order",
                        serialize=False,
                        to="billing.transfer",
                    ),
                ),
                ("rule", models.CharField(max_length=100)),
                ("reason", models.TextField()),
            ],
            options={
                "ordering": ["-transfer_id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("rule__startswith", "system: ")),
                        name="billing_systemorder_named",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TrialGrant",
            fields=[
                (
                    "transfer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="trial",
                        serialize=False,
                        to="billing.transfer",
                    ),
                ),
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trial_grant",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "founder",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CreditRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credit_requests",
                        to="accounts.organisation",
                    ),
                ),
                ("amount_cents", models.PositiveBigIntegerField()),
                ("reason", models.CharField(max_length=500)),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Pending"),
                            ("granted", "Granted"),
                            ("declined", "Declined"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                (
                    "answered_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "order",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credit_request",
                        to="billing.stafftransfer",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")),
                        fields=("organisation",),
                        name="billing_creditrequest_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("order__isnull", False), ("state", "granted")),
                            models.Q(
                                models.Q(("state", "granted"), _negated=True),
                                ("order__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="billing_creditrequest_granted_by_order",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Payout",
            fields=[],
            options={
                "proxy": True,
            },
            bases=("billing.transfer",),
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="budgets",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="budgets",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "key",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="budget",
                        to="accounts.apikey",
                    ),
                ),
                ("limit_nano", models.BigIntegerField()),
                (
                    "window",
                    models.CharField(
                        choices=[
                            ("ever", "Never"),
                            ("day", "Every day"),
                            ("week", "Every week"),
                            ("month", "Every month"),
                        ],
                        default="month",
                        max_length=5,
                    ),
                ),
                (
                    "window_starts_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("spent_nano", models.BigIntegerField(db_default=0, default=0, editable=False)),
                ("held_nano", models.BigIntegerField(db_default=0, default=0, editable=False)),
                ("before_nano", models.BigIntegerField(db_default=0, default=0, editable=False)),
            ],
            options={
                "ordering": ["organisation", "id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("limit_nano__gte", 0)),
                        name="billing_budget_limit_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("held_nano__gte", 0), ("spent_nano__gte", 0)),
                        name="billing_budget_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("user__isnull", True), ("key__isnull", True), _connector="OR"
                        ),
                        name="billing_budget_of_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("window__in", ["ever", "day", "week", "month"])),
                        name="billing_budget_window_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("key__isnull", True)),
                        fields=("organisation", "user"),
                        name="billing_budget_unique",
                        nulls_distinct=False,
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("router_id", models.TextField()),
                ("life", models.TextField(default="")),
                (
                    "budgets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), default=list, size=None
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="leases",
                        to="billing.account",
                    ),
                ),
                ("amount_nano", models.BigIntegerField()),
                ("spent_nano", models.BigIntegerField(db_default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("closed", "Closed")],
                        db_default="open",
                        max_length=8,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-created_at"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "open")),
                        fields=["router_id"],
                        name="billing_lease_open",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("spent_nano__gte", 0), ("spent_nano__lte", models.F("amount_nano"))
                        ),
                        name="billing_lease_spent_within_amount",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="WriteOff",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("router_id", models.TextField()),
                ("reason", models.TextField()),
                ("by", models.CharField(max_length=150)),
                ("leases", models.PositiveIntegerField()),
                ("amount_nano", models.BigIntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, db_index=True)),
                ("transfers", models.BigIntegerField()),
                ("accounts", models.IntegerField()),
                ("gaps", models.JSONField(default=list)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.RunSQL((SQL / "0001_baseline.sql").read_text()),
    ]
