"""The SQLite file.

- `sqlite`: the SQLite library in use, the meaning of its errors, its transactions
- `schema`: the tables of a file, their creation, upgrades
- `file`: open, recognize, create and upgrade a file
- `journal`: WAL while a handle writes, one file when all are closed
- `forks`: no connection crosses a fork
- `connection`: the connections of one handle, lent to threads
- `query`: read-only SQL from users
- `tables`: rows in, frozen structs out
- `care`: check, back up and salvage a file
"""
