"""Child processes that answer in bytes; none of them opens a store."""
