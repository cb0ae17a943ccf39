"""Stands before the installed package where Python's own SQLite is to be used, as where pysqlite3 has no wheels."""

raise ImportError("hidden by tests/without_pysqlite3")
