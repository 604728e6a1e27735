from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0002_responses"),
    ]

    operations = [
        migrations.AddField(
            model_name="routetuning",
            name="looked_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
