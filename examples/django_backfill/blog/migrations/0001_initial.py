"""The tables, as ``manage.py makemigrations`` writes them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Authors and posts."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            "Author",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
            ],
        ),
        migrations.CreateModel(
            "Post",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200)),
                ("author_name", models.CharField(default="", max_length=100)),
                ("author", models.ForeignKey(on_delete=models.deletion.CASCADE, to="blog.author")),
            ],
        ),
    )
