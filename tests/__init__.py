"""Tests: each a claim. With `SAMPLEDB_TESTS=own-sqlite` they hold for Python's own SQLite."""

from tests import own_sqlite

# Before any test imports sampledb.
own_sqlite.hide()
