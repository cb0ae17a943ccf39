"""The schema: the tables of a file, their creation, and upgrades of older files.

SQLite keeps the text of each CREATE statement, comments and all, so every file carries this documentation:
`sampledb schema FILE` prints it.

History of `user_version`:

5.  Samples, tags, reports, functions, disassembly, the APIs and strings that functions refer to; labels; signatures
    of similar code; jobs and binaries; full-text search; views.

Formats 1 to 4 were written before the first release and cannot be read. Never change a released format: raise
FORMAT_VERSION, change the statements, and add to UPGRADES the step that makes the same of an older file. The README of
`format` specifies the whole file.
"""

from typing import TYPE_CHECKING, Final

from sampledb.store.sqlite import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlite_utils import Database

# "smpl" as a big-endian integer: what `file` and PRAGMA application_id show.
APPLICATION_ID: Final = 0x736D706C
FORMAT_VERSION: Final = 5
# The oldest format that can be upgraded.
OLDEST_FORMAT: Final = 5

# Of new files. A frame rarely fills its last page: with 4096 bytes a file is 3 % larger.
PAGE_BYTES: Final = 2048

_SAMPLES: Final = """
CREATE TABLE samples (
    -- One row for each sample: a file, known by its SHA-256, with code analysis, media metadata, or both.
    -- Unknown text is '', unknown numbers are 0.
    sample_id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- from 1, never used again
    sha256            TEXT    NOT NULL UNIQUE             -- lower-case hex
                      CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    md5               TEXT    NOT NULL,                   -- lower-case hex
    sha1              TEXT    NOT NULL,                   -- lower-case hex
    name              TEXT    NOT NULL,                   -- the file's name, extension included
    extension         TEXT    NOT NULL,                   -- without the dot
    family            TEXT    NOT NULL,                   -- SMDA metadata.family, or as updated since
    version           TEXT    NOT NULL,                   -- SMDA metadata.version, or as updated since
    component         TEXT    NOT NULL,                   -- SMDA metadata.component, or as updated since
    is_library        INTEGER NOT NULL CHECK (is_library IN (0, 1)),
    architecture      TEXT    NOT NULL,                   -- intel, aarch64, arm, cil, dalvik
    bitness           INTEGER CHECK (bitness IN (32, 64)),
    base_addr         INTEGER NOT NULL,                   -- unsigned 64-bit, stored as the signed one of the same bits
    binary_size       INTEGER NOT NULL,                   -- bytes, stored like base_addr
    binweight         REAL    NOT NULL,
    smda_version      TEXT    NOT NULL,
    num_functions     INTEGER NOT NULL CHECK (num_functions >= 0),
    first_function_id INTEGER,                            -- functions have the ids from here on, without a gap,
                                                          -- in unsigned offset order; NULL when there are none
    has_media         INTEGER NOT NULL CHECK (has_media IN (0, 1)),  -- whether media metadata was added
    username          TEXT    NOT NULL,                   -- who added the sample
    added_at          TEXT    NOT NULL,                   -- ISO 8601, UTC, to the microsecond
    statistics        TEXT    NOT NULL,                   -- SMDA's counts, a JSON object
    media_info        TEXT    NOT NULL,                   -- MediaInfo's tracks, a JSON object
    formats           TEXT    NOT NULL,                   -- the formats and codecs of these tracks, one a line
    notes             TEXT,
    CHECK ((first_function_id IS NULL) = (num_functions = 0))
) STRICT"""

_SAMPLES_BY_FAMILY: Final = "CREATE INDEX samples_by_family ON samples (family)"

_SAMPLE_TAGS: Final = """
CREATE TABLE sample_tags (
    -- The tags of each sample, in their order. ASCII capitals make no other tag.
    sample_id INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,  -- from 0
    tag       TEXT    NOT NULL COLLATE NOCASE,
    PRIMARY KEY (sample_id, position)
) STRICT, WITHOUT ROWID"""

_SAMPLE_TAGS_BY_TAG: Final = "CREATE UNIQUE INDEX sample_tags_by_tag ON sample_tags (tag, sample_id)"

_REPORTS: Final = """
CREATE TABLE reports (
    -- The SMDA report of each analyzed sample, unchanged, without its functions.
    sample_id INTEGER PRIMARY KEY REFERENCES samples (sample_id) ON DELETE CASCADE,
    checksum  INTEGER NOT NULL,  -- xxh3_64 of the blob, signed
    report    BLOB    NOT NULL   -- format byte, then the JSON object without "xcfg", zstd
) STRICT"""

_FUNCTIONS: Final = """
CREATE TABLE functions (
    -- One narrow row for each function; a sample's rows have consecutive ids in unsigned offset order.
    function_id      INTEGER PRIMARY KEY AUTOINCREMENT,  -- from 1, never used again
    sample_id        INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    "offset"         INTEGER NOT NULL,  -- address of the entry, unsigned 64-bit stored as signed
    name             TEXT    NOT NULL,  -- SMDA's function_name
    num_blocks       INTEGER NOT NULL,
    num_instructions INTEGER NOT NULL,
    binweight        REAL    NOT NULL,
    pic_hash         INTEGER,           -- unsigned 64-bit stored as signed; compares within one smda_version
    bytes_before     INTEGER NOT NULL,  -- from the lowest block's start to the entry; nearly always 0
    bytes_after      INTEGER NOT NULL   -- from the entry to the highest block's end
) STRICT"""

_FUNCTIONS_BY_OFFSET: Final = 'CREATE UNIQUE INDEX functions_by_offset ON functions (sample_id, "offset")'

# The columns behind the hash tell what is known from other samples in a tenth of the time of reading the rows.
_FUNCTIONS_BY_PIC_HASH: Final = """
CREATE INDEX functions_by_pic_hash ON functions (pic_hash, sample_id, num_instructions) WHERE pic_hash IS NOT NULL"""

_DISASSEMBLY: Final = """
CREATE TABLE disassembly (
    -- SMDA's function dicts, several in a frame, apart from the narrow rows so that no scan reads them.
    first_function_id INTEGER PRIMARY KEY  -- the frame holds this function and those that follow,
                      REFERENCES functions (function_id) ON DELETE CASCADE,  -- up to the next frame; of one sample only
    checksum          INTEGER NOT NULL,    -- xxh3_64 of the frame, signed
    frame             BLOB    NOT NULL     -- format byte, then the functions as rows and columns, zstd
                                           -- with the dictionary that the format names
) STRICT"""

_SAMPLE_LIST: Final = """
CREATE VIEW sample_list AS
    -- The samples as people read them: hex addresses, tags in one column.
    SELECT sample_id, name, family, version, component, architecture, bitness,
           printf('0x%x', base_addr) AS base_addr, binary_size, num_functions,
           (SELECT group_concat(tag, ', ') FROM sample_tags WHERE sample_tags.sample_id = samples.sample_id) AS tags,
           username, added_at, sha256, notes
    FROM samples"""

_FUNCTION_LIST: Final = """
CREATE VIEW function_list AS
    -- The functions as people read them: hex offsets and hashes, with the name of their sample.
    SELECT function_id, sample_id, samples.name AS sample, printf('0x%x', "offset") AS "offset",
           functions.name AS name, num_blocks, num_instructions, functions.binweight AS binweight,
           printf('0x%016x', pic_hash) AS pic_hash
    FROM functions JOIN samples USING (sample_id)"""

_APIS: Final = """
CREATE TABLE apis (
    -- The APIs that functions refer to, each once.
    api_id INTEGER PRIMARY KEY,
    hash   INTEGER NOT NULL,  -- BLAKE2b of 4 bytes, big-endian, signed: an index of names would hold them twice
    api    TEXT    NOT NULL   -- as SMDA names it, its library before a '!': 'kernel32.dll!CreateFileA'
) STRICT"""

_API_REFERENCES: Final = """
CREATE TABLE api_references (
    -- The functions of each sample that refer to an API; function_apis shows them one by one.
    api_id    INTEGER NOT NULL REFERENCES apis (api_id),
    sample_id INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    functions TEXT    NOT NULL,  -- a JSON array of positions, ascending: function_id - first_function_id
    PRIMARY KEY (api_id, sample_id)
) STRICT, WITHOUT ROWID"""

_STRINGS: Final = """
CREATE TABLE strings (
    -- The strings that functions refer to, each once; like apis.
    string_id INTEGER PRIMARY KEY,
    hash      INTEGER NOT NULL,
    string    TEXT    NOT NULL  -- the first 65,536 characters
) STRICT"""

_STRING_REFERENCES: Final = """
CREATE TABLE string_references (
    -- The functions of each sample that refer to a string; like api_references.
    string_id INTEGER NOT NULL REFERENCES strings (string_id),
    sample_id INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    functions TEXT    NOT NULL,
    PRIMARY KEY (string_id, sample_id)
) STRICT, WITHOUT ROWID"""

_APIS_BY_HASH: Final = "CREATE INDEX apis_by_hash ON apis (hash)"

_STRINGS_BY_HASH: Final = "CREATE INDEX strings_by_hash ON strings (hash)"

_API_REFERENCES_BY_SAMPLE: Final = "CREATE INDEX api_references_by_sample ON api_references (sample_id)"

_STRING_REFERENCES_BY_SAMPLE: Final = "CREATE INDEX string_references_by_sample ON string_references (sample_id)"

_FUNCTION_APIS: Final = """
CREATE VIEW function_apis AS
    -- Which function refers to which API.
    SELECT first_function_id + value AS function_id, sample_id, api
    FROM api_references JOIN apis USING (api_id) JOIN samples USING (sample_id), json_each(functions)"""

_FUNCTION_STRINGS: Final = """
CREATE VIEW function_strings AS
    -- Which function refers to which string.
    SELECT first_function_id + value AS function_id, sample_id, string
    FROM string_references JOIN strings USING (string_id) JOIN samples USING (sample_id), json_each(functions)"""

_LABELS: Final = """
CREATE TABLE labels (
    -- The names and comments that people gave to functions. They stay when a sample is analyzed again.
    label_id   INTEGER PRIMARY KEY,
    sample_id  INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    "offset"   INTEGER NOT NULL,  -- of the function, like functions."offset"
    name       TEXT    NOT NULL,
    comment    TEXT    NOT NULL,
    username   TEXT    NOT NULL,  -- who said so
    updated_at TEXT    NOT NULL   -- ISO 8601, UTC, to the microsecond
) STRICT"""

_LABELS_BY_OFFSET: Final = 'CREATE UNIQUE INDEX labels_by_offset ON labels (sample_id, "offset")'

_LABEL_HISTORY: Final = """
CREATE TABLE label_history (
    -- The former rows of labels; one without name and comment says that a label was removed.
    history_id INTEGER PRIMARY KEY,
    sample_id  INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    "offset"   INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    comment    TEXT    NOT NULL,
    username   TEXT    NOT NULL,
    updated_at TEXT    NOT NULL
) STRICT"""

_LABEL_HISTORY_BY_OFFSET: Final = 'CREATE INDEX label_history_by_offset ON label_history (sample_id, "offset")'

_SIGNATURES: Final = """
CREATE TABLE signatures (
    -- What similar code is found by: a signature of each larger function, made when it is first asked for. Function ids
    -- are those of the sample; two algorithms are never compared.
    sample_id        INTEGER NOT NULL REFERENCES samples (sample_id) ON DELETE CASCADE,
    algorithm        INTEGER NOT NULL,
    checksum         INTEGER NOT NULL,  -- xxh3_64 of functions and signs, signed
    details_checksum INTEGER NOT NULL,
    functions        BLOB    NOT NULL,  -- of the n-th function of the sample the bit 1 << n % 8 of byte n / 8:
                                        -- whether it has a signature
    signs            BLOB    NOT NULL,  -- 256 bits of each: 32 bytes, enough to look through many
    details          BLOB    NOT NULL,  -- three more bits of each of the 256 numbers, which scores need: 96 bytes;
                                        -- last, so that they are not read with the signs
    PRIMARY KEY (sample_id, algorithm)
) STRICT"""

_JOBS: Final = """
CREATE TABLE jobs (
    -- Binaries to be disassembled, and their outcome, in the order of submission.
    job_number   INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id       TEXT    NOT NULL UNIQUE,   -- 32 hex digits, random
    state        TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'cancelled')),
    sha256       TEXT    NOT NULL,          -- of the binary
    filename     TEXT,                      -- for the report, as are family and version
    family       TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    is_dump      INTEGER NOT NULL CHECK (is_dump IN (0, 1)),  -- a memory dump, mapped at base_addr, of this bitness
    base_addr    INTEGER NOT NULL,          -- unsigned 64-bit stored as signed
    bitness      INTEGER NOT NULL CHECK (bitness IN (32, 64)),
    username     TEXT    NOT NULL,          -- who submitted it
    keep_binary  INTEGER NOT NULL CHECK (keep_binary IN (0, 1)),
    strings      INTEGER NOT NULL CHECK (strings IN (0, 1)),  -- whether SMDA collects them
    attempts     INTEGER NOT NULL CHECK (attempts >= 0),
    runner       TEXT,                      -- who runs it: host/process/random
    lease_until  REAL,                      -- Unix seconds; the runner renews it
    lease_uptime REAL,                      -- the same moment by the runner's CLOCK_MONOTONIC, in seconds
    sample_id    INTEGER REFERENCES samples (sample_id) ON DELETE SET NULL,  -- the result
    error        TEXT,                      -- the reason of a failure, a JSON object
    submitted_at TEXT    NOT NULL,          -- ISO 8601, UTC, to the microsecond
    started_at   TEXT,                      -- of the last attempt
    finished_at  TEXT,
    CHECK ((state = 'running') = (runner IS NOT NULL AND lease_until IS NOT NULL AND lease_uptime IS NOT NULL)),
    CHECK ((state IN ('finished', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) STRICT"""

# At most one unfinished job for each binary; and these are found without reading finished ones.
_JOBS_UNFINISHED: Final = """
CREATE UNIQUE INDEX jobs_unfinished ON jobs (sha256) WHERE state IN ('queued', 'running')"""

_JOBS_BY_SAMPLE: Final = "CREATE INDEX jobs_by_sample ON jobs (sample_id) WHERE sample_id IS NOT NULL"

_BINARIES: Final = """
CREATE TABLE binaries (
    -- The files of unfinished jobs, and those submitted with keep_binary.
    binary_id INTEGER PRIMARY KEY,
    sha256    TEXT    NOT NULL UNIQUE,
    is_kept   INTEGER NOT NULL CHECK (is_kept IN (0, 1)),
    checksum  INTEGER NOT NULL,  -- xxh3_64 of the blob, signed
    binary    BLOB    NOT NULL   -- format byte, then the file, zstd
) STRICT"""

_SAMPLES_BY_MD5: Final = "CREATE INDEX samples_by_md5 ON samples (md5) WHERE md5 <> ''"

_SAMPLES_BY_SHA1: Final = "CREATE INDEX samples_by_sha1 ON samples (sha1) WHERE sha1 <> ''"

_FUNCTIONS_BY_NAME: Final = "CREATE INDEX functions_by_name ON functions (name) WHERE name <> ''"

# Nearly empty: names of which function_search holds a part only.
_FUNCTIONS_BY_LONG_NAME: Final = """
CREATE INDEX functions_by_long_name ON functions (sample_id) WHERE length(name) > 1000"""

_SAMPLE_TEXTS: Final = """
CREATE VIEW sample_texts AS
    -- The text of each sample in sample_search.
    SELECT sample_id, name, family, version, component,
           coalesce((SELECT group_concat(tag, char(31)) FROM sample_tags
                     WHERE sample_tags.sample_id = samples.sample_id), '') AS tags,
           coalesce(notes, '') AS notes, formats, extension
    FROM samples"""

# Trigrams find parts of names, which words would not: `crypt` in `aes_encrypt_block`. Positions (detail=full) would
# double the index, and rank no better than the names themselves; sizes (columnsize) serve a ranking that is not
# used. Neither table stores the text, which is in the rows.
_SAMPLE_SEARCH: Final = """
CREATE VIRTUAL TABLE sample_search
    -- Finds samples by the text in sample_texts; rowid is the sample_id. In your own SQL, MATCH takes only terms of
    -- three characters ('"cry" AND "ryp"'), LIKE finds nothing, and the columns are NULL.
    USING fts5(name, family, version, component, tags, notes, formats, extension,
               content='', detail=none, columnsize=0, tokenize='trigram')"""

_FUNCTION_SEARCH: Final = """
CREATE VIRTUAL TABLE function_search
    -- Finds function names by their first 1,000 characters; rowid is the lowest function_id with the name, and
    -- functions_by_name has the others: most names are in many samples. In your own SQL, use it like sample_search.
    USING fts5(name, content='', detail=none, columnsize=0, tokenize='trigram')"""

_STRING_SEARCH: Final = """
CREATE VIRTUAL TABLE string_search
    -- Finds strings; rowid is the string_id. In your own SQL, use it like sample_search.
    USING fts5(string, content='', detail=none, columnsize=0, tokenize='trigram')"""

_LABEL_SEARCH: Final = """
CREATE VIRTUAL TABLE label_search
    -- Finds labels by name and comment; rowid is the label_id. In your own SQL, use it like sample_search.
    USING fts5(name, comment, content='', detail=none, columnsize=0, tokenize='trigram')"""

# In the order of creation.
STATEMENTS: Final = tuple(
    statement.strip()
    for statement in (
        _SAMPLES,
        _SAMPLES_BY_FAMILY,
        _SAMPLES_BY_MD5,
        _SAMPLES_BY_SHA1,
        _SAMPLE_TAGS,
        _SAMPLE_TAGS_BY_TAG,
        _REPORTS,
        _FUNCTIONS,
        _FUNCTIONS_BY_OFFSET,
        _FUNCTIONS_BY_PIC_HASH,
        _FUNCTIONS_BY_NAME,
        _FUNCTIONS_BY_LONG_NAME,
        _DISASSEMBLY,
        _SAMPLE_LIST,
        _FUNCTION_LIST,
        _APIS,
        _APIS_BY_HASH,
        _API_REFERENCES,
        _API_REFERENCES_BY_SAMPLE,
        _STRINGS,
        _STRINGS_BY_HASH,
        _STRING_REFERENCES,
        _STRING_REFERENCES_BY_SAMPLE,
        _FUNCTION_APIS,
        _FUNCTION_STRINGS,
        _LABELS,
        _LABELS_BY_OFFSET,
        _LABEL_HISTORY,
        _LABEL_HISTORY_BY_OFFSET,
        _SIGNATURES,
        _JOBS,
        _JOBS_UNFINISHED,
        _JOBS_BY_SAMPLE,
        _BINARIES,
        _SAMPLE_TEXTS,
        _SAMPLE_SEARCH,
        _FUNCTION_SEARCH,
        _STRING_SEARCH,
        _LABEL_SEARCH,
    )
)

# The step to each format from the one before it.
UPGRADES: Final[dict[int, "Callable[[Database], None]"]] = {}
# Statements of older formats that a later one replaced; without them, an older file would seem tampered with.
FORMER_STATEMENTS: Final[tuple[str, ...]] = ()


def create(connection: Connection) -> None:
    """Create the schema in an empty file, inside the caller's transaction."""
    # Plain SQL: importing sqlite_utils takes fifty times as long.
    for statement in STATEMENTS:
        connection.execute(statement)
    _stamp(connection)


def upgrade(connection: Connection, version: int) -> None:
    """Bring a file of format `version` to FORMAT_VERSION, inside the caller's transaction."""
    from sqlite_utils import Database  # noqa: PLC0415 - see create()

    # Plugins would run foreign code on this connection; recursive triggers would stay enabled for it.
    database = Database(connection, execute_plugins=False, recursive_triggers=False)
    for step in range(version + 1, FORMAT_VERSION + 1):
        UPGRADES[step](database)
    _stamp(connection)


def _stamp(connection: Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
