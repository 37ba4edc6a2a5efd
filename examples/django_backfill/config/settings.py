"""Settings of the project. Where the server is, libpq takes from PGHOST, PGPORT, PGUSER and
PGPASSWORD.
"""

import os

INSTALLED_APPS = ["blog"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "blog"),
        # A worker keeps its connection from one batch to the next, and looks whether it is still
        # good.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # The statement of a worker that is killed ends on the server, too (PostgreSQL 14 and
        # newer).
        "OPTIONS": {"options": "-c client_connection_check_interval=1000"},
    }
}
