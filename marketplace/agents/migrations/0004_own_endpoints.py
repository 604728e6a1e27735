import django.core.validators
import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0003_workertoken_reusable"),
        ("endpoints", "0002_own_hosts"),
    ]

    operations = [
        migrations.AddField(
            model_name="agent",
            name="endpoint",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="agents",
                to="endpoints.ownendpoint",
            ),
        ),
        migrations.AddField(
            model_name="agentworker",
            name="own_worker",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reports",
                to="endpoints.ownworker",
            ),
        ),
        migrations.AddField(
            model_name="workertoken",
            name="endpoint",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="worker_tokens",
                to="endpoints.ownendpoint",
            ),
        ),
        migrations.AlterField(
            model_name="agent",
            name="name",
            field=models.CharField(
                max_length=60,
                unique=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "^(~[0-9]+\\.)?[a-z0-9][a-z0-9._-]*$",
                        "Lower case letters, digits, . _ and - only.",
                    )
                ],
            ),
        ),
        migrations.AlterField(
            model_name="agent",
            name="pool",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="agents",
                to="catalog.pool",
            ),
        ),
        migrations.AlterField(
            model_name="agentworker",
            name="worker",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reports",
                to="catalog.worker",
            ),
        ),
        migrations.AlterField(
            model_name="workertoken",
            name="pool",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="worker_tokens",
                to="catalog.pool",
            ),
        ),
        AddConstraintNotValid(
            model_name="agent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("endpoint__isnull", True), ("pool__isnull", False)),
                    models.Q(("endpoint__isnull", False), ("pool__isnull", True)),
                    _connector="OR",
                ),
                name="agent_of_one_place",
            ),
        ),
        AddConstraintNotValid(
            model_name="agentworker",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("own_worker__isnull", True), ("worker__isnull", False)),
                    models.Q(("own_worker__isnull", False), ("worker__isnull", True)),
                    _connector="OR",
                ),
                name="agent_worker_is_one_server",
            ),
        ),
        AddConstraintNotValid(
            model_name="workertoken",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("endpoint__isnull", True), ("pool__isnull", False)),
                    models.Q(("endpoint__isnull", False), ("pool__isnull", True)),
                    _connector="OR",
                ),
                name="worker_token_for_one_place",
            ),
        ),
    ]
