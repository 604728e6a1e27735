import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_baseline"),
        ("catalog", "0001_baseline"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="OwnEndpoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(max_length=40, verbose_name="name")),
                (
                    "task",
                    models.CharField(
                        choices=[("chat", "Chat"), ("embeddings", "Embeddings")],
                        default="chat",
                        max_length=12,
                        verbose_name="task",
                    ),
                ),
                (
                    "dialect",
                    models.CharField(
                        choices=[
                            ("openai", "OpenAI-compatible"),
                            ("anthropic", "Anthropic's messages"),
                        ],
                        default="openai",
                        max_length=12,
                        verbose_name="dialect",
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
                        verbose_name="base URL",
                    ),
                ),
                (
                    "upstream_model",
                    models.CharField(max_length=120, verbose_name="model at the endpoint"),
                ),
                ("sealed_key", models.TextField(blank=True, editable=False)),
                ("masked_key", models.CharField(blank=True, editable=False, max_length=16)),
                ("key_changed_at", models.DateTimeField(editable=False, null=True)),
                (
                    "slots",
                    models.PositiveIntegerField(
                        default=16,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                        verbose_name="calls at once",
                    ),
                ),
                (
                    "context_tokens_max",
                    models.PositiveIntegerField(
                        default=0,
                        validators=[django.core.validators.MaxValueValidator(10000000)],
                        verbose_name="context in tokens",
                    ),
                ),
                (
                    "completion_tokens_max",
                    models.PositiveIntegerField(
                        default=0,
                        validators=[django.core.validators.MaxValueValidator(10000000)],
                        verbose_name="longest answer in tokens",
                    ),
                ),
                ("spills", models.BooleanField(default=True, verbose_name="then the market")),
                ("market_prompt_nano_max", models.PositiveBigIntegerField(blank=True, null=True)),
                (
                    "market_completion_nano_max",
                    models.PositiveBigIntegerField(blank=True, null=True),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
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
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="own_endpoints",
                        to="accounts.organisation",
                    ),
                ),
                (
                    "stands_for",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="catalog.aimodel",
                        verbose_name="first for the market's model",
                    ),
                ),
            ],
            options={
                "ordering": ["organisation", "slug"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organisation", "slug"),
                        name="own_endpoint_named_once",
                        violation_error_message="You have an endpoint of this name already.",
                    ),
                    models.UniqueConstraint(
                        fields=("organisation", "stands_for"),
                        name="own_endpoint_one_stands_for",
                        violation_error_message="Another endpoint of yours is first for this model.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("slots__gte", 1)), name="own_endpoint_slots_positive"
                    ),
                ],
            },
        ),
    ]
