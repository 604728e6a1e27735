import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0002_agentworker_rank_alter_agentworker_worker_and_more")]

    operations = [
        migrations.AddField(
            model_name="workertoken",
            name="reusable",
            field=models.BooleanField(default=False),
        ),
        migrations.AlterField(
            model_name="agent",
            name="token",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="agents",
                to="agents.workertoken",
            ),
        ),
    ]
