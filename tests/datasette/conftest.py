"""The plugin in Datasette."""

import sqlite3

from datasette.plugins import pm

from sampledb.datasette import plugin

# Datasette has it on for the whole process, and the tests of interrupts raise in callbacks.
sqlite3.enable_callback_tracebacks(False)

# An installation knows it by its entry point, a tree that was only copied does not.
if not pm.has_plugin("sampledb"):
    pm.register(plugin, "sampledb")
