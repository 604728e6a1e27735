import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
        ("benchmarks", "0001_baseline"),
        ("catalog", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="Listing",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="listings",
                        to="catalog.provider",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("checking", "Being checked"),
                            ("checked", "Checked"),
                            ("benchmarking", "Being measured"),
                            ("benchmarked", "Measured"),
                            ("review", "In review"),
                            ("live", "Live"),
                            ("paused", "Paused"),
                            ("suspended", "Suspended"),
                            ("retired", "Retired"),
                        ],
                        default="draft",
                        editable=False,
                        max_length=12,
                    ),
                ),
                (
                    "existing_model",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="catalog.aimodel",
                    ),
                ),
                ("model_name", models.CharField(blank=True, max_length=120)),
                ("display_name", models.CharField(blank=True, max_length=120)),
                (
                    "task",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("chat", "Chat"),
                            ("embeddings", "Embeddings"),
                            ("tabular", "Tabular"),
                            ("vision", "Vision"),
                        ],
                        max_length=20,
                    ),
                ),
                ("description", models.TextField(blank=True, max_length=4000)),
                ("license", models.CharField(blank=True, max_length=80)),
                ("source_url", models.URLField(blank=True)),
                ("context_tokens_max", models.PositiveIntegerField(default=0)),
                ("completion_tokens_max", models.PositiveIntegerField(default=0)),
                ("input_schema", models.JSONField(blank=True, default=dict)),
                ("tensors", models.JSONField(blank=True, default=dict)),
                ("version", models.CharField(blank=True, max_length=40)),
                ("version_notes", models.TextField(blank=True, max_length=4000)),
                ("pool_name", models.CharField(blank=True, max_length=60)),
                ("hardware", models.CharField(blank=True, max_length=80)),
                ("engine", models.CharField(blank=True, max_length=80)),
                ("region", models.CharField(blank=True, max_length=40)),
                ("cost_nano_per_hour", models.PositiveBigIntegerField(default=0)),
                ("endpoints", models.JSONField(blank=True, default=list)),
                ("upstream_model", models.CharField(blank=True, max_length=120)),
                (
                    "quantization",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Not stated"),
                            ("int4", "int4"),
                            ("int8", "int8"),
                            ("fp4", "fp4"),
                            ("fp6", "fp6"),
                            ("fp8", "fp8"),
                            ("fp16", "fp16"),
                            ("bf16", "bf16"),
                            ("fp32", "fp32"),
                        ],
                        max_length=4,
                    ),
                ),
                (
                    "supported_parameters",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("collects_data", models.BooleanField(default=True)),
                ("prompt_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("cached_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("completion_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("reasoning_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("request_nano", models.PositiveBigIntegerField(default=0)),
                ("row_nano", models.PositiveBigIntegerField(default=0)),
                ("image_nano", models.PositiveBigIntegerField(default=0)),
                ("second_nano", models.PositiveBigIntegerField(default=0)),
                (
                    "deployment",
                    models.OneToOneField(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="catalog.deployment",
                    ),
                ),
                (
                    "benchmark",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="benchmarks.benchmark",
                    ),
                ),
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
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["state", "id"], name="listing_by_state")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                [
                                    "draft",
                                    "checking",
                                    "checked",
                                    "benchmarking",
                                    "benchmarked",
                                    "review",
                                    "live",
                                    "paused",
                                    "suspended",
                                    "retired",
                                ],
                            )
                        ),
                        name="listing_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("deployment__isnull", False),
                            ("state__in", ["draft", "checking", "retired"]),
                            _connector="OR",
                        ),
                        name="listing_staged_has_deployment",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ListingEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "listing",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="providers.listing",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("submit", "Submit for the check"),
                            ("pass", "Check passed"),
                            ("fail", "Check failed"),
                            ("cancel", "Cancel"),
                            ("benchmark", "Measure"),
                            ("measured", "Measured"),
                            ("unmeasured", "Measurement failed"),
                            ("request-review", "Request review"),
                            ("withdraw", "Withdraw from review"),
                            ("approve", "Approve: go live"),
                            ("send-back", "Send back"),
                            ("pause", "Pause"),
                            ("resume", "Resume"),
                            ("suspend", "Suspend"),
                            ("reinstate", "Reinstate"),
                            ("revise", "Revise"),
                            ("retire", "Retire permanently"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "from_state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("checking", "Being checked"),
                            ("checked", "Checked"),
                            ("benchmarking", "Being measured"),
                            ("benchmarked", "Measured"),
                            ("review", "In review"),
                            ("live", "Live"),
                            ("paused", "Paused"),
                            ("suspended", "Suspended"),
                            ("retired", "Retired"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "to_state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("checking", "Being checked"),
                            ("checked", "Checked"),
                            ("benchmarking", "Being measured"),
                            ("benchmarked", "Measured"),
                            ("review", "In review"),
                            ("live", "Live"),
                            ("paused", "Paused"),
                            ("suspended", "Suspended"),
                            ("retired", "Retired"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("actor", models.CharField(max_length=254)),
                ("why", models.CharField(blank=True, max_length=500)),
                ("at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="ConformanceRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "listing",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="providers.listing",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("cancel_requested", models.BooleanField(default=False)),
                ("error", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["queued", "running"])),
                        fields=("listing",),
                        name="conformance_one_at_a_time",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ConformanceResult",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="results",
                        to="providers.conformancerun",
                    ),
                ),
                ("endpoint", models.CharField(max_length=300)),
                ("check_name", models.CharField(max_length=24)),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("pass", "Passed"),
                            ("warn", "Warning"),
                            ("fail", "Failed"),
                            ("skip", "Not tested"),
                        ],
                        max_length=4,
                    ),
                ),
                ("code", models.CharField(max_length=40)),
                ("params", models.JSONField(blank=True, default=dict)),
                ("sent", models.CharField(blank=True, max_length=600)),
                ("received", models.CharField(blank=True, max_length=600)),
                ("took_ms", models.FloatField(default=0.0)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
    ]
