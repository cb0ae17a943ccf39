"""The subjects of measurement: the store, its growth, its memory, jobs, search, columns."""
