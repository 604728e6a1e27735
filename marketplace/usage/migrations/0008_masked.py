from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0007_asked"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="masked",
            field=models.TextField(db_default="", default=""),
        ),
    ]
