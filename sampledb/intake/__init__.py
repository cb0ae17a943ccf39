"""Turn what users hand over into bytes and checked values; no SQLite."""
