"""Turn what users pass into bytes and checked values; no SQLite."""
