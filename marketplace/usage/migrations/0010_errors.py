from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0009_guarded"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="error",
            field=models.TextField(db_default="", default=""),
        ),
    ]
