from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0012_transcription"),
    ]

    operations = [
        migrations.AddField(
            model_name="deployment",
            name="published",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Strangers see it while it is paused, too; else it waits for approval.",
            ),
        ),
    ]
