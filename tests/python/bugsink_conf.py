"""Bugsink, as the tests run it: one folder, no mail, no calls home, events digested while they are taken."""

import os

from bugsink.settings.default import *  # noqa: F401,F403

_FOLDER = os.environ["BUGSINK_FOLDER"]

SECRET_KEY = "only for tests on a loopback address, where nobody else is"
ALLOWED_HOSTS = ["*"]
DATABASES["default"]["NAME"] = os.path.join(_FOLDER, "db.sqlite3")  # noqa: F405
DATABASES["snappea"]["NAME"] = os.path.join(_FOLDER, "snappea.sqlite3")  # noqa: F405
SNAPPEA = {"TASK_ALWAYS_EAGER": True}
BUGSINK = {
    "BASE_URL": os.environ.get("BUGSINK_URL", "http://127.0.0.1"),
    "PHONEHOME": False,
    "INGEST_STORE_BASE_DIR": os.path.join(_FOLDER, "ingest"),
    "USER_REGISTRATION": "CB_NOBODY",
}
