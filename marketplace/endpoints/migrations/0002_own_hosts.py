import django.core.validators
import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("endpoints", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="OwnWorker",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        max_length=300,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^(https?|grpc)://[^\\s/?#]+(/[^\\s?#]*)?$",
                                "A base like http://host:port or grpc://host:port.",
                            )
                        ],
                    ),
                ),
                (
                    "slots",
                    models.PositiveIntegerField(
                        default=1, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                ("healthy", models.BooleanField(default=True)),
                (
                    "draining",
                    models.BooleanField(
                        default=False, help_text="Finishes what it has and gets nothing new."
                    ),
                ),
                (
                    "drain_reason",
                    models.CharField(
                        blank=True, editable=False, help_text="Why it is drained.", max_length=200
                    ),
                ),
                ("health_checked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("health_error", models.CharField(blank=True, editable=False, max_length=200)),
                (
                    "reported_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="When its agent last reported; empty without an agent.",
                        null=True,
                    ),
                ),
                ("reports_since", models.DateTimeField(blank=True, editable=False, null=True)),
                ("reported_error", models.CharField(blank=True, editable=False, max_length=200)),
                ("worker_id", models.CharField(max_length=80, unique=True)),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="workers",
                        to="endpoints.ownendpoint",
                    ),
                ),
            ],
            options={
                "ordering": ["worker_id"],
            },
        ),
        migrations.AddField(
            model_name="ownendpoint",
            name="hosted",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AlterField(
            model_name="ownendpoint",
            name="url",
            field=models.CharField(
                blank=True,
                max_length=300,
                validators=[
                    django.core.validators.RegexValidator(
                        "^(https?|grpc)://[^\\s/?#]+(/[^\\s?#]*)?$",
                        "A base like http://host:port or grpc://host:port.",
                    )
                ],
                verbose_name="base URL",
            ),
        ),
        AddConstraintNotValid(
            model_name="ownendpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("hosted", True), ("url", "")),
                    models.Q(("hosted", False), models.Q(("url", ""), _negated=True)),
                    _connector="OR",
                ),
                name="own_endpoint_hosted_or_at_a_url",
            ),
        ),
    ]
