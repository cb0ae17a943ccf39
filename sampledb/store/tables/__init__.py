"""The tables: rows in, frozen structs out.

Functions take a connection from a transaction of the caller, and a table changes only through its module.
"""
