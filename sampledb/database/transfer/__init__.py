"""Many samples at once: reports, another store, what people typed as text."""
