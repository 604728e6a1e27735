import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
        ("catalog", "0001_baseline"),
    ]

    operations = [
        migrations.CreateModel(
            name="Benchmark",
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
                        related_name="benchmarks",
                        to="catalog.aimodel",
                    ),
                ),
                (
                    "target",
                    models.CharField(
                        choices=[
                            ("worker", "Worker"),
                            ("deployment", "Deployment"),
                            ("route", "Route"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "deployment",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="benchmarks",
                        to="catalog.deployment",
                    ),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="benchmarks",
                        to="catalog.worker",
                    ),
                ),
                (
                    "scenario",
                    models.CharField(
                        choices=[
                            ("single_stream", "Single stream"),
                            ("multi_stream", "Multi stream"),
                            ("server", "Server"),
                            ("offline", "Offline"),
                        ],
                        max_length=16,
                    ),
                ),
                ("settings", models.JSONField(default=dict)),
                (
                    "trigger",
                    models.CharField(
                        choices=[
                            ("person", "A person"),
                            ("schedule", "The schedule"),
                            ("change", "Something new"),
                            ("drift", "Drift"),
                            ("pilot", "A pilot for the advisor"),
                        ],
                        default="person",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=300)),
                (
                    "requested_by",
                    models.ForeignKey(
                        blank=True,
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
                ("progress", models.FloatField(default=0.0)),
                ("stage", models.CharField(blank=True, max_length=200)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("cancel_requested", models.BooleanField(default=False)),
                ("fingerprint", models.JSONField(default=dict)),
                ("emulated", models.BooleanField(default=False)),
                ("raw_dir", models.CharField(blank=True, max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["model", "-id"], name="benchmark_by_model")],
            },
        ),
        migrations.CreateModel(
            name="Point",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "benchmark",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="points",
                        to="benchmarks.benchmark",
                    ),
                ),
                ("load", models.FloatField()),
                ("samples", models.PositiveIntegerField()),
                ("errors", models.PositiveIntegerField(default=0)),
                ("duration_s", models.FloatField()),
                ("throughput_hz", models.FloatField()),
                ("goodput_hz", models.FloatField()),
                ("tokens_per_s", models.FloatField(default=0.0)),
                ("latency", models.JSONField(default=dict)),
                ("valid", models.BooleanField(default=True)),
                ("invalid_because", models.CharField(blank=True, max_length=300)),
                ("is_knee", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ["benchmark", "load"],
                "constraints": [
                    models.UniqueConstraint(fields=("benchmark", "load"), name="point_load_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="Profile",
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
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="profiles",
                        to="catalog.deployment",
                    ),
                ),
                (
                    "service_ms",
                    models.FloatField(validators=[django.core.validators.MinValueValidator(0.001)]),
                ),
                ("batch_curve", models.JSONField(blank=True, default=list)),
                ("engine", models.JSONField(blank=True, default=dict)),
                ("slots", models.PositiveIntegerField(default=0)),
                ("capacity_hz", models.FloatField(default=0.0)),
                ("slo_ms", models.FloatField(default=0.0)),
                ("throughput_hz", models.FloatField(default=0.0)),
                ("tokens_per_s", models.FloatField(default=0.0)),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("given", "Given by the provider"),
                            ("benchmark", "Benchmarked here"),
                            ("live", "Live traffic"),
                        ],
                        default="given",
                        max_length=10,
                    ),
                ),
                (
                    "benchmark",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="profiles",
                        to="benchmarks.benchmark",
                    ),
                ),
                ("samples", models.PositiveIntegerField(default=0)),
                ("fingerprint", models.JSONField(blank=True, default=dict)),
                (
                    "source",
                    models.CharField(help_text="Where the figure comes from.", max_length=300),
                ),
                ("emulated", models.BooleanField(default=False)),
                ("published", models.BooleanField(default=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["deployment", "-created_at", "-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("service_ms__gt", 0)), name="profile_service_positive"
                    )
                ],
            },
        ),
    ]
