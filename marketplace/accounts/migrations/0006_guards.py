from django.db import migrations, models

TABLES = ("apikey", "organisation")


def fields() -> dict[str, models.Field]:
    return {
        "guard_model": models.CharField(
            blank=True,
            db_default="",
            default="",
            max_length=120,
            verbose_name="moderation model",
        ),
        "guard_inputs": models.BooleanField(
            db_default=True, default=True, verbose_name="judges calls"
        ),
        "guard_answers": models.BooleanField(
            db_default=False, default=False, verbose_name="judges answers"
        ),
        "guard_passes": models.BooleanField(
            db_default=False, default=False, verbose_name="lets pass what it cannot judge"
        ),
    }


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_masks"),
    ]

    operations = [
        migrations.AddField(model_name=table, name=name, field=field)
        for table in TABLES
        for name, field in fields().items()
    ]
