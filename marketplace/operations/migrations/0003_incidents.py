from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("operations", "0002_backups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Incident",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "part",
                    models.CharField(
                        choices=[
                            ("api", "API: calls to models"),
                            ("pages", "Pages and management"),
                            ("jobs", "Batches and background work"),
                        ],
                        max_length=20,
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)),
                        fields=("part",),
                        name="incident_one_open",
                    )
                ],
            },
        ),
    ]
