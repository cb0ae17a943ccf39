"""How the model of `sampledb.similarity` was learned, and how well it finds functions in programs it never saw."""
