"""Fixtures: a file of real and of hostile samples, and the plugin in Datasette."""

import shutil
from pathlib import Path

import pytest
from datasette.plugins import pm

import sampledb
from sampledb.datasette import plugin
from tests.strategies import function, instruction, report

#: What malware may call itself.
HOSTILE = '<script>alert("x")</script>\u202e\'"><img src=x onerror=alert(1)>'

# An installation knows it by its entry point, a tree that was only copied does not.
if not pm.has_plugin("sampledb"):
    pm.register(plugin, "sampledb")


@pytest.fixture(scope="session")
def looked_at(filled_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed file with real samples, and as the last one a hostile one that calls itself such things."""
    path = tmp_path_factory.mktemp("looked_at") / "corpus.sampledb"
    shutil.copy(filled_path, path)
    callee = function(0x2000, function_name=HOSTILE, pic_hash=7)
    caller = function(0x1000, {"4096": [instruction(0x1000, "e8fb0f0000", HOSTILE, HOSTILE)]}, pic_hash=8)
    caller |= {"outrefs": {"4096": [0x2000]}, "apirefs": {"4096": HOSTILE}}
    callee |= {"inrefs": [0x1000]}
    with sampledb.open(path) as db:
        sample = db.add_sample(report(caller, callee), name=HOSTILE)
        db.update_sample(sample.sample_id, tags=[HOSTILE[:50]], notes=f"{HOSTILE}\n{HOSTILE}")
        db.label_function(sample.sample_id, 0x1000, name="rc4_init", comment=HOSTILE)
    return path
