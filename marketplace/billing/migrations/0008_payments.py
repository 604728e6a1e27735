"""Payments, and what organisations owe; the ledger's functions learn of both."""

import uuid
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
BEFORE = (SQL / "purses.sql").read_text()
BEFORE = BEFORE[BEFORE.index("CREATE FUNCTION billing_purse_parts") :].partition("$$;")[0] + "$$;"
BEFORE = BEFORE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_rate_limits"),
        ("billing", "0007_payouts"),
        ("catalog", "0004_deployment_traits"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            ],
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
            },
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
                ("failure", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True, db_index=True)),
                ("concluded_at", models.DateTimeField(null=True)),
                ("asked_at", models.DateTimeField(null=True)),
                ("payment_method_id", models.CharField(blank=True, max_length=255)),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="PaymentProfile",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("customer_id", models.CharField(max_length=255, null=True, unique=True)),
                ("payment_method_id", models.CharField(blank=True, max_length=255)),
            ],
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
            ],
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
                ("failure", models.TextField(blank=True, editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-created_at"],
            },
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
                ("reason", models.TextField()),
            ],
            options={
                "ordering": ["-transfer_id"],
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
                            ("ignored", "Not of interest"),
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
        migrations.RemoveConstraint(
            model_name="account",
            name="billing_account_owner_fits_kind",
        ),
        migrations.RemoveConstraint(
            model_name="transfer",
            name="billing_transfer_kind_known",
        ),
        migrations.AddField(
            model_name="account",
            name="debtor",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="debt_account",
                to="accounts.organisation",
            ),
        ),
        migrations.AlterField(
            model_name="account",
            name="kind",
            field=models.CharField(
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
        migrations.AlterField(
            model_name="transfer",
            name="kind",
            field=models.CharField(
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
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
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
                        ("kind__in", ["commission", "cash", "expense", "grants", "payouts"]),
                        ("organisation__isnull", True),
                        ("provider__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="billing_account_owner_fits_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.CheckConstraint(
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
        ),
        migrations.AddField(
            model_name="autorecharge",
            name="changed_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="created_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="organisation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payments",
                to="accounts.organisation",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="disputes",
                to="billing.payment",
            ),
        ),
        migrations.AddField(
            model_name="paymentprofile",
            name="organisation",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payment_profile",
                to="accounts.organisation",
            ),
        ),
        migrations.AddField(
            model_name="paymenttransfer",
            name="dispute",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="links",
                to="billing.dispute",
            ),
        ),
        migrations.AddField(
            model_name="paymenttransfer",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="links",
                to="billing.payment",
            ),
        ),
        migrations.AddField(
            model_name="refund",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="refunds",
                to="billing.payment",
            ),
        ),
        migrations.AddField(
            model_name="refund",
            name="requested_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="paymenttransfer",
            name="refund",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="links",
                to="billing.refund",
            ),
        ),
        migrations.AddField(
            model_name="stafftransfer",
            name="ordered_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="stafftransfer",
            name="organisation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="staff_transfers",
                to="accounts.organisation",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__gt", 0)), name="billing_payment_amount_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "succeeded", "failed", "expired"])),
                name="billing_payment_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("purpose", "recharge"), ("state", "pending")),
                fields=("organisation",),
                name="billing_payment_one_recharge_in_flight",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["inquiry", "open", "lost", "won"])),
                name="billing_dispute_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__gt", 0)), name="billing_refund_amount_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["requested", "pending", "succeeded", "failed"])),
                name="billing_refund_state_known",
            ),
        ),
        migrations.RunSQL((SQL / "payments.sql").read_text(), BEFORE),
    ]
