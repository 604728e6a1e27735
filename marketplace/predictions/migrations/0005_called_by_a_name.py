from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0004_stage_by_call")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="called_name",
            field=models.CharField(blank=True, db_default="", max_length=160),
        ),
        migrations.RemoveConstraint(
            model_name="prediction", name="prediction_of_model_or_pipeline"
        ),
        AddConstraintNotValid(
            model_name="prediction",
            constraint=models.CheckConstraint(
                condition=models.Q(("model__isnull", False), ("pipeline", None))
                | models.Q(("called_name", ""), ("model", None), ("pipeline__isnull", False))
                | models.Q(
                    models.Q(("called_name", ""), _negated=True),
                    ("model", None),
                    ("pipeline", None),
                ),
                name="prediction_of_model_or_pipeline",
            ),
        ),
    ]
