"""A browser that looks at what people look at."""
