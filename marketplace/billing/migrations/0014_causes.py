"""Every transfer names its cause; those of before are given one where it can be derived."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"

_EARLIER = (SQL / "purses_functions.sql").read_text()
_POST = _EARLIER[: _EARLIER.index("CREATE OR REPLACE FUNCTION billing_settle(")]

BACK = (
    _POST
    + """
DROP FUNCTION billing_transfer_fits(text, text, text), billing_reversal_of(text);
DELETE FROM billing_stafftransfer WHERE organisation_id IS NULL;
"""
)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_ended_sessions"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("billing", "0013_lease_grow"),
        ("usage", "0003_partitions"),
    ]

    operations = [
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
        migrations.AlterField(
            model_name="stafftransfer",
            name="organisation",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="staff_transfers",
                to="accounts.organisation",
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(
                    ("kind__in", ["charge_provider", "charge_commission"]),
                    ("request_id__isnull", False),
                    _negated=True,
                ),
                fields=["id"],
                name="billing_transfer_of_no_call",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("overdraft", False),
                    ("kind__in", ["cash", "expense", "grants", "receivable"]),
                    _connector="OR",
                ),
                name="billing_account_overdraft_fits_kind",
            ),
        ),
        migrations.RunSQL(
            (SQL / "causes.sql").read_text() + (SQL / "causes_of_before.sql").read_text(), BACK
        ),
    ]
