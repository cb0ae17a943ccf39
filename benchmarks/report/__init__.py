"""The figures of a run, and the forms in which they are shown."""
