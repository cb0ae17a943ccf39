"""A small file of the present format with something of everything, which later versions must read.

`python -m tests.format.make_file OUT` writes it. Without a name, it renews the file in the folder `kept`, and what was
read of it, as long as the format is not released. The file of a released format stays as it is, so that every later
version is tried on what users have; after FORMAT_VERSION was raised, the same command adds one.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import sampledb
from sampledb import SampleDB
from sampledb.store import schema
from tests.raw import raw
from tests.strategies import KERNEL, function, instruction, report

KEPT: Final = Path(__file__).parent / "kept"
#: The file of the present format, compressed because most of its pages are nearly empty, and what was read of it.
FILE: Final = KEPT / f"format{schema.FORMAT_VERSION}.sampledb.gz"
ANSWERS: Final = KEPT / f"format{schema.FORMAT_VERSION}.json"
#: The file of the first sample.
BINARY: Final = b"MZ first"

# Times and ids of jobs are the same in each file, and nothing is left of others, so that renewing it changes only what
# has changed. What a run leaves of jobs is written here, because SMDA's reports have times, too.
_FIXED: Final = """
UPDATE samples SET added_at = printf('2026-01-31T23:59:%02d.000000+00:00', sample_id);
UPDATE label_history SET updated_at = printf('2026-02-01T00:00:%02d.000000+00:00', history_id);
UPDATE labels SET updated_at = printf('2026-02-01T00:01:%02d.000001+00:00', label_id);
UPDATE jobs SET job_id = printf('%032x', job_number), submitted_at = '2026-02-02T00:00:00.000000+00:00';
UPDATE jobs
SET attempts = 1, started_at = submitted_at,
    state = CASE filename WHEN 'first.exe' THEN 'finished' ELSE 'failed' END,
    sample_id = CASE filename WHEN 'first.exe' THEN 1 END,
    error = CASE filename WHEN 'failed.exe' THEN '{"code": "analysis_failed", "message": "No.", "details": {}}' END,
    finished_at = submitted_at
WHERE filename IN ('first.exe', 'failed.exe');
UPDATE jobs SET finished_at = submitted_at WHERE state = 'cancelled';
UPDATE binaries SET is_kept = 1 WHERE sha256 IN (SELECT sha256 FROM jobs WHERE state = 'finished');
DELETE FROM binaries WHERE sha256 IN (SELECT sha256 FROM jobs WHERE state = 'failed');
VACUUM;
"""
# Of a function's name, a format, a string, a comment and notes.
_WORDS: Final = ("sub_1", "avc", "shared", "rc4", "alice")


def make(path: Path) -> None:
    """Write a file with analyses, media, labels and their history, jobs, binaries, and ids that are no longer used."""
    with sampledb.open(path) as db:
        db.submit_binary(BINARY, filename="first.exe", keep_binary=True, username="bob")
        db.add_sample(_first_report(), username="alice", family="win.first")
        # Its blobs are compressed harder than those that follow.
        db.compact()
        db.add_sample(report(function(4096), seed="deleted"))
        db.add_sample(_second_report(), is_library=True, version="1.0", component="core", name="two.dll")
        db.add_sample(report(seed="empty", bitness=None, base_addr=None, status="error", note="é\0"))
        db.add_media(
            sha256="0" * 64,
            name="clip.mp4",
            tags=["reviewed"],
            media_info={"tracks": [{"@type": "Video", "Format": "AVC", "CodecID": "avc1"}]},
            notes="long\nnotes",
        )
        db.update_sample(1, tags=["packed", "x86"], notes="read by alice")
        db.delete_sample(2)
        _label(db)
        _submit(db)
        db.update_signatures()
    with raw(path) as connection:
        connection.executescript(_FIXED)


def _label(db: SampleDB) -> None:
    db.label_function(1, 4096, name="decrypt_config", username="alice")
    db.label_function(1, 4096, comment="with RC4", username="bob")
    db.label_function(1, KERNEL, name="unlink_process")
    db.delete_label(1, KERNEL, username="bob")
    db.label_function(3, KERNEL, name="entry")


def _submit(db: SampleDB) -> None:
    db.submit_binary(b"\x55\x89\xe5\xc3" * 8, filename="queued.exe", family="win.first", is_dump=True, base_addr=KERNEL)
    db.submit_binary(b"MZ failed", filename="failed.exe", strings=False)
    db.cancel_job(db.submit_binary(b"MZ cancelled"))


def _first_report() -> dict[str, Any]:
    """Return a report of three frames, with what SMDA writes and what only others write."""
    functions = [_smda_function(4096 + 64 * number, number) for number in range(33)]
    functions += [_smda_function(KERNEL, 99), _smda_function(2**63 - 8, 98)]
    odd = function(0x40, {"64": [instruction(64), instruction(80, "c3", "ret")]}, pic_hash=None, function_name="gap")
    functions += [odd | {"x-own": [1.5, None, 2**70], "apirefs": {"64": {"string": "odd!Api"}}}]
    functions += [function(0x80, {}, function_name="no_blocks", binweight=0.0), _large_function("xor", 1)]
    return report(
        *functions,
        seed=BINARY.decode(),
        base_addr=0xFFFF_F800_0000_0000,
        metadata={"family": "other", "version": "v", "component": "", "filename": "first.exe", "is_library": False},
        statistics={"num_functions": len(functions)},
        md5="0" * 32,
        sha1="1" * 40,
        mcrit={"labels": [[KERNEL, "from_mcrit", "carol", "2025-01-02T03:04:05"]]},
        **{"x-unknown": {"deep": [[[]]], "number": 2**64, "float": 1e-7}},
    )


def _second_report() -> dict[str, Any]:
    """Return a report as older versions of SMDA wrote it, which lack keys; it shares names with the first."""
    functions = [function(0x1000 * number, function_name=f"sub_{number}") for number in range(1, 4)]
    for each in functions:
        del each["metadata"]["pic_hash"]
    functions.append(_large_function("add", 2))
    return report(*functions, function(KERNEL, function_name="std::" + "x" * 1100), seed="second", bitness=32)


def _large_function(mnemonic: str, pic_hash: int) -> dict[str, Any]:
    """Return a function that is large enough for a signature."""
    offset = 0x8000
    lines = [instruction(offset + 5 * n, "3501000000", mnemonic, f"eax, {0x67452301 + 9 * n:#x}") for n in range(16)]
    return function(offset, {str(offset): lines}, function_name="large", pic_hash=pic_hash)


def _smda_function(offset: int, number: int) -> dict[str, Any]:
    """Return a function with two blocks that call, jump, and refer to an API and to strings."""
    end = offset + 7
    blocks = {
        str(offset): [
            instruction(offset, "e8fbffffff", "call", hex(offset)),
            instruction(offset + 5, "7500", "jne", hex(end)),
        ],
        str(end): [instruction(end, "c3", "ret")],
    }
    made = function(
        offset,
        blocks,
        function_name=f"sub_{number}" if number % 3 else "",
        strongly_connected_components=[[offset], [end]] if number % 4 else [[offset, end]],
        nesting_depth=number % 5,
        tfidf=None if number == 7 else number / 8,
    )
    made["blockrefs"] = {str(offset): [end], str(end): []}
    made["inrefs"] = [offset, 2**64 - 1][: number % 3]
    made["outrefs"] = {str(offset): [offset]} | ({str(end): [0, 2**63]} if number % 7 == 0 else {})
    made["apirefs"] = {str(offset): f"kernel32.dll!Api{number % 5}"} if number % 2 else {}
    strings: dict[int, Any] = {
        3: [{"string": f"key {number}", "ins_addr": offset, "data_addr": 1, "type": "ascii"}],
        4: {str(offset): "shared string"},
    }
    return made | {"stringrefs": strings.get(number % 8, {}), "architecture_metadata": {}, "is_exported": number == 5}


def read_answers(db: SampleDB) -> dict[str, Any]:
    """Return what the calls answer about a file that `make` wrote, as plain JSON."""
    samples = list(db.iter_samples())
    analyzed = [sample.sample_id for sample in samples if sample.architecture]
    answers = {
        "samples": [sample.to_dict() for sample in samples],
        "reports": {sample_id: db.get_report(sample_id) for sample_id in analyzed},
        "functions": [each.to_dict() for each in db.iter_functions()],
        "labels": [label.to_dict() for label in db.list_labels(history=True)],
        "jobs": [job.to_dict() for job in db.list_jobs()],
        "binary": db.get_binary(1).decode(),
        "compared": [
            [pair.a.name, pair.b.offset, pair.score, pair.exact] for pair in db.compare(1, 3, threshold=1).pairs
        ],
        "apis": db.list_apis(),
        "strings": db.list_strings(),
        "found": {word: sorted((hit.sample_id, hit.function_id or 0) for hit in db.search(word)) for word in _WORDS},
    }
    found: dict[str, Any] = json.loads(json.dumps(answers))
    return found


def main() -> None:
    """Write the file that is asked for, or the one that is kept."""
    if sys.argv[1:]:
        make(Path(sys.argv[1]))
        return
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.sampledb"
        make(path)
        FILE.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        with sampledb.open(path, readonly=True) as db:
            ANSWERS.write_text(json.dumps(read_answers(db), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
