"""Leases of a router's lives, within budgets; balances that follow from transfers and leases."""

from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"

DROP_EARLIER = """
DROP FUNCTION billing_settle_balance(usage_call[], bigint),
  billing_lease_close_all(text), billing_lease_close(uuid),
  billing_lease_extend(uuid, integer), billing_lease_take(text, bigint, bigint, bigint, integer);
"""


def _functions(file: str, *names: str) -> str:
    """As they were before."""
    text = (SQL / file).read_text().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    pieces = text.split("CREATE OR REPLACE FUNCTION ")[1:]
    wanted = [piece for piece in pieces if piece.partition("(")[0] in names]
    return "".join(f"CREATE OR REPLACE FUNCTION {piece.partition('$$;')[0]}$$;" for piece in wanted)


BACK = (
    """
DROP TRIGGER billing_lease_no_delete ON billing_lease;
DROP TRIGGER billing_lease_no_truncate ON billing_lease;
DROP FUNCTION billing_settle_cover(usage_call[]), billing_settle_spend(usage_call[]),
  billing_lease_close_earlier(text, text), billing_lease_close(uuid),
  billing_lease_shrink(uuid, bigint), billing_lease_lock(uuid), billing_lease_extend(uuid, float8),
  billing_lease_take(uuid, text, text, bigint, bigint[], bigint, bigint, float8),
  billing_purse_parts(bigint, bigint[]), billing_budgets_roll(bigint[]);
DROP FUNCTION billing_lease_moved(), billing_transfers_made(), billing_guard_budget() CASCADE;
DROP FUNCTION billing_lease_rest(billing_lease);
"""
    + (SQL / "leases.sql").read_text()
    + _functions("guards.sql", "billing_guard_account")
    + _functions("transfers.sql", "billing_transfer_post")
    + _functions("settle_once.sql", "billing_settle_balance", "billing_settle")
)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_rate_limits"),
        ("billing", "0004_transfers"),
        ("routing", "0003_cluster"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Budget",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
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
            ],
            options={
                "ordering": ["organisation", "id"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="transfer",
            name="billing_transfer_kind_known",
        ),
        migrations.AddField(
            model_name="lease",
            name="budgets",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="lease",
            name="life",
            field=models.TextField(default=""),
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
                ],
                max_length=20,
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
                        ],
                    )
                ),
                name="billing_transfer_kind_known",
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="key",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="budget",
                to="accounts.apikey",
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="organisation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="budgets",
                to="accounts.organisation",
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="user",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="budgets",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("limit_nano__gte", 0)), name="billing_budget_limit_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("held_nano__gte", 0), ("spent_nano__gte", 0)),
                name="billing_budget_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("user__isnull", True), ("key__isnull", True), _connector="OR"),
                name="billing_budget_of_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("window__in", ["ever", "day", "week", "month"])),
                name="billing_budget_window_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("key__isnull", True)),
                fields=("organisation", "user"),
                name="billing_budget_unique",
                nulls_distinct=False,
            ),
        ),
        migrations.RunSQL(
            DROP_EARLIER
            + (SQL / "purses.sql").read_text()
            + (SQL / "purses_functions.sql").read_text(),
            BACK,
        ),
    ]
