"""A plugin of Datasette and of sqlite-utils, which they import and nothing else does; it opens no file."""
