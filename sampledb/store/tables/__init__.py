"""The tables: rows in, frozen structs out."""
