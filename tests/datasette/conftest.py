"""The plugin in Datasette."""

from datasette.plugins import pm

from sampledb.datasette import plugin

# An installation knows it by its entry point, a tree that was only copied does not.
if not pm.has_plugin("sampledb"):
    pm.register(plugin, "sampledb")
