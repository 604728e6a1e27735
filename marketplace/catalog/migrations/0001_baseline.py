from pathlib import Path

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="Provider",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(max_length=60, unique=True)),
                ("name", models.CharField(max_length=120)),
                ("description", models.TextField(blank=True)),
                ("website", models.URLField(blank=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        blank=True,
                        help_text="Its members see what the provider earns.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="providers",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "commission_bps",
                    models.PositiveIntegerField(
                        default=1000,
                        help_text="Basis points: 1000 is 10 %.",
                        validators=[django.core.validators.MaxValueValidator(10000)],
                    ),
                ),
                ("emulated", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("commission_bps__lte", 10000)),
                        name="provider_commission_bounded",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AIModel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=120,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*$",
                                "A model's name looks like author/slug.",
                            )
                        ],
                    ),
                ),
                ("display_name", models.CharField(max_length=120)),
                (
                    "task",
                    models.CharField(
                        choices=[
                            ("chat", "Chat"),
                            ("embeddings", "Embeddings"),
                            ("tabular", "Tabular"),
                            ("vision", "Vision"),
                        ],
                        max_length=20,
                    ),
                ),
                ("description", models.TextField(blank=True)),
                ("license", models.CharField(blank=True, max_length=80)),
                ("source_url", models.URLField(blank=True)),
                ("context_tokens_max", models.PositiveIntegerField(default=0)),
                ("completion_tokens_max", models.PositiveIntegerField(default=0)),
                ("input_schema", models.JSONField(blank=True, default=dict)),
                ("tensors", models.JSONField(blank=True, default=dict)),
                ("emulated", models.BooleanField(default=False)),
                ("published", models.BooleanField(default=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "model",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="ModelVersion",
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
                        related_name="versions",
                        to="catalog.aimodel",
                    ),
                ),
                (
                    "version",
                    models.CharField(
                        max_length=40,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9._-]*$",
                                "Lower case letters, digits, . _ and - only.",
                            )
                        ],
                    ),
                ),
                ("notes", models.TextField(blank=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ["model", "-created_at", "-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "version"), name="model_version_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Pool",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=60,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9._-]*$",
                                "Lower case letters, digits, . _ and - only.",
                            )
                        ],
                    ),
                ),
                ("hardware", models.CharField(max_length=80)),
                ("engine", models.CharField(max_length=80)),
                ("region", models.CharField(default="local", max_length=40)),
                (
                    "cost_nano_per_hour",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="The provider's cost of a worker, in nano-USD per hour.",
                    ),
                ),
                ("emulated", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "worker_id",
                    models.CharField(
                        max_length=80,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9._-]*$",
                                "Lower case letters, digits, . _ and - only.",
                            )
                        ],
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="workers",
                        to="catalog.pool",
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
                    "protocol",
                    models.CharField(
                        choices=[
                            ("openai", "OpenAI-compatible"),
                            ("oip", "Open Inference Protocol v2"),
                            ("oip_grpc", "Open Inference Protocol v2 over gRPC"),
                        ],
                        max_length=10,
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
                (
                    "left_out",
                    models.CharField(
                        blank=True,
                        editable=False,
                        help_text="Why it could not be started; everybody may read it.",
                        max_length=200,
                    ),
                ),
                ("health_checked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("health_error", models.CharField(blank=True, editable=False, max_length=200)),
            ],
            options={
                "ordering": ["worker_id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("slots__gte", 1)), name="worker_slots_positive"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Deployment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deployments",
                        to="catalog.modelversion",
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deployments",
                        to="catalog.provider",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deployments",
                        to="catalog.pool",
                    ),
                ),
                (
                    "upstream_model",
                    models.CharField(help_text="The model's name on the workers.", max_length=120),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("live", "Live"), ("paused", "Paused"), ("retired", "Retired")],
                        default="live",
                        max_length=10,
                    ),
                ),
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
                        default="",
                        max_length=4,
                    ),
                ),
                (
                    "supported_parameters",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        blank=True,
                        default=list,
                        help_text=(
                            "Request fields that the workers support, separated by "
                            "commas: tools, seed, …"
                        ),
                        size=None,
                    ),
                ),
                (
                    "collects_data",
                    models.BooleanField(
                        default=True, help_text="The provider may keep prompts or answers."
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("version", "provider", "pool"), name="deployment_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Offer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "deployment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="offers",
                        to="catalog.deployment",
                    ),
                ),
                ("prompt_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("cached_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("completion_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("reasoning_nano_per_million", models.PositiveBigIntegerField(default=0)),
                ("request_nano", models.PositiveBigIntegerField(default=0)),
                ("row_nano", models.PositiveBigIntegerField(default=0)),
                ("image_nano", models.PositiveBigIntegerField(default=0)),
                ("second_nano", models.PositiveBigIntegerField(default=0)),
                ("effective_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["deployment", "-effective_at", "-id"],
                "indexes": [
                    models.Index(
                        fields=["deployment", "-effective_at", "-id"], name="offer_in_force"
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "0001_baseline.sql").read_text()),
    ]
