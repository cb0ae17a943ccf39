"""The SQLite file: connections, schema, tables, care."""
