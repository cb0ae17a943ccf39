"""Tests of the plugin of Datasette and sqlite-utils."""
