"""SMDA reports and their functions as the blobs of a file, and back; pure: no files, no SQLite."""
