"""A plugin of Datasette and of sqlite-utils. Nothing else imports it, and it opens no file."""
