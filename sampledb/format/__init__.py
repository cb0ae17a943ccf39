"""Turn SMDA reports and their functions into the blobs of a file, and back; no files, no SQLite."""
