from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import marketplace.routing.models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
        ("catalog", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="Policy",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="policies",
                        to="catalog.aimodel",
                    ),
                ),
                ("version", models.PositiveIntegerField(editable=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("late_binding", "Late binding: lowest expected time to finish"),
                            ("round_robin", "Round robin"),
                            ("weighted", "Weighted round robin"),
                            ("least_outstanding", "Least outstanding requests"),
                            (
                                "weighted_least_outstanding",
                                "Least outstanding requests, by capacity",
                            ),
                            ("power_of_two", "Better of two at random"),
                            ("peak_ewma", "Peak-sensitive average latency"),
                            ("prequal", "Prequal"),
                            ("c3", "C3"),
                            ("least_latency", "Lowest average latency"),
                        ],
                        default="late_binding",
                        max_length=40,
                    ),
                ),
                (
                    "wait_weight",
                    models.FloatField(
                        default=5.0,
                        help_text=(
                            "How much a second in the queue counts, compared with a "
                            "second of service."
                        ),
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(100.0),
                        ],
                    ),
                ),
                (
                    "usd_weight_s",
                    models.FloatField(
                        default=0.0,
                        help_text="How many seconds of latency a dollar is worth; 0 ignores prices.",
                        validators=[django.core.validators.MinValueValidator(0.0)],
                    ),
                ),
                (
                    "hedge_share",
                    models.FloatField(
                        default=0.05,
                        help_text="Share of late requests that may also run on a second worker.",
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(0.2),
                        ],
                    ),
                ),
                (
                    "shared",
                    models.BooleanField(
                        default=False,
                        help_text=(
                            "Every router places calls over leased slots, instead of one "
                            "router that owns the model."
                        ),
                    ),
                ),
                (
                    "weights",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        validators=[marketplace.routing.models.validate_weights],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "Proposed"),
                            ("canary", "Under trial"),
                            ("published", "Published"),
                            ("rolled_back", "Rolled back"),
                            ("dismissed", "Dismissed"),
                        ],
                        default="published",
                        editable=False,
                        max_length=12,
                    ),
                ),
                (
                    "canary_share",
                    models.FloatField(
                        default=0.0,
                        editable=False,
                        help_text="Share of the requests in the trial.",
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(0.5),
                        ],
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=200)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name_plural": "policies",
                "ordering": ["model", "-version"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "version"), name="policy_version_unique"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "canary")),
                        fields=("model",),
                        name="policy_one_canary",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SnapshotRow",
            fields=[
                ("version", models.BigAutoField(primary_key=True, serialize=False)),
                ("schema", models.IntegerField()),
                ("body", models.JSONField()),
                ("digest", models.CharField(max_length=64)),
                (
                    "published_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "verbose_name": "snapshot",
                "db_table": "routing_snapshot",
                "ordering": ["-version"],
            },
        ),
        migrations.CreateModel(
            name="RouteTuning",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "model",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tuning",
                        to="catalog.aimodel",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            (
                                "automatic",
                                "Automatic: a proposal is tried once its replay allows it",
                            ),
                            ("ask", "Ask first: a person approves each trial"),
                            ("off", "Off: nothing is proposed automatically"),
                        ],
                        default="ask",
                        max_length=10,
                    ),
                ),
                (
                    "canary_share",
                    models.FloatField(
                        default=0.1,
                        validators=[
                            django.core.validators.MinValueValidator(0.01),
                            django.core.validators.MaxValueValidator(0.5),
                        ],
                    ),
                ),
                (
                    "slo_ms",
                    models.FloatField(
                        default=5000.0,
                        validators=[
                            django.core.validators.MinValueValidator(1.0),
                            django.core.validators.MaxValueValidator(3600000.0),
                        ],
                    ),
                ),
                (
                    "error_budget",
                    models.FloatField(
                        default=0.01,
                        validators=[
                            django.core.validators.MinValueValidator(0.0001),
                            django.core.validators.MaxValueValidator(0.5),
                        ],
                    ),
                ),
                (
                    "samples_min",
                    models.PositiveIntegerField(
                        default=200,
                        validators=[
                            django.core.validators.MinValueValidator(50),
                            django.core.validators.MaxValueValidator(1000000),
                        ],
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["model"],
            },
        ),
        migrations.CreateModel(
            name="Trial",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "policy",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="trial",
                        to="routing.policy",
                    ),
                ),
                (
                    "baseline",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="routing.policy",
                    ),
                ),
                (
                    "aim",
                    models.CharField(
                        choices=[
                            ("latency", "Lower latency"),
                            ("misses", "Fewer misses"),
                            ("not_worse", "Better in replay, and not worse for its own calls"),
                        ],
                        max_length=10,
                    ),
                ),
                ("evidence", models.JSONField(default=dict)),
                ("replay", models.JSONField(default=dict)),
                (
                    "asked_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("budget_calls", models.FloatField(default=0.0)),
                ("looks", models.JSONField(default=list)),
                ("ended_because", models.CharField(blank=True, max_length=20)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="RoutingEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("model", models.TextField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("proposed", "Proposed"),
                            ("approved", "Approved"),
                            ("started", "Trial started"),
                            ("promoted", "Promoted"),
                            ("rolled_back", "Rolled back"),
                            ("dismissed", "Dismissed"),
                            ("published", "Published by hand"),
                            ("reverted", "Reverted to an earlier version"),
                            ("tuned", "Settings changed"),
                            ("drained", "Worker drained"),
                            ("undrained", "Worker put back"),
                        ],
                        max_length=12,
                    ),
                ),
                ("version", models.PositiveIntegerField(default=0)),
                ("policy_id", models.BigIntegerField(default=0)),
                ("actor", models.TextField()),
                ("why", models.TextField(blank=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["model", "-id"], name="routing_event_by_model")],
            },
        ),
        migrations.CreateModel(
            name="Straggler",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="strayings",
                        to="catalog.worker",
                    ),
                ),
                (
                    "deployment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="catalog.deployment",
                    ),
                ),
                ("evidence", models.JSONField(default=dict)),
                ("since", models.DateTimeField(auto_now_add=True)),
                ("seen_at", models.DateTimeField(auto_now=True)),
                ("cleared_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("cleared_at", None)),
                        fields=("worker", "deployment"),
                        name="straggler_named_once",
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "0001_baseline.sql").read_text()),
    ]
