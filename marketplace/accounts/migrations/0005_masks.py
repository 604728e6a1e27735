import django.contrib.postgres.fields
from django.db import migrations, models

CHOICES = [
    ("email", "Email addresses"),
    ("phone", "Telephone numbers"),
    ("card", "Payment cards"),
    ("iban", "Bank accounts (IBAN)"),
    ("cpf", "Brazilian persons (CPF)"),
    ("cnpj", "Brazilian companies (CNPJ)"),
]


def masks() -> models.Field:
    return django.contrib.postgres.fields.ArrayField(
        base_field=models.CharField(choices=CHOICES, max_length=10),
        blank=True,
        db_default=models.Value(
            [],
            django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=10), size=None
            ),
        ),
        default=list,
        size=None,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_apikey_rules"),
    ]

    operations = [
        migrations.AddField(model_name="apikey", name="masks", field=masks()),
        migrations.AddField(model_name="organisation", name="masks", field=masks()),
    ]
