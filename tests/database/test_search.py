"""Searching by fields: every combination of terms finds what a plain loop over samples and functions finds."""

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sampledb
from sampledb import Function, Hit, InvalidInputError, Sample, SampleDB
from tests.raw import raw
from tests.strategies import function, report

# A plain loop

Term = tuple[str, str]
# Field, text, sample, function
Found = tuple[str, str, int, int | None]

SAMPLE_FIELDS = ("family", "tag", "notes", "version", "component", "codec", "extension", "hash", "sha256")
FUNCTION_FIELDS = ("api", "string", "label", "pic_hash")


def matches(field: str, value: str, text: str) -> bool:
    glob = re.sub(r"[\[?]", r"[\g<0>]", value.lower())
    if field in ("notes", "string") and glob:
        glob = f"*{glob}*"
    names = [text, text.split("!", 1)[1]] if field == "api" and "!" in text else [text]
    return any(fnmatch.fnmatchcase(name.lower(), glob) for name in names)


def texts_of(sample: Sample) -> Iterator[tuple[str, str]]:
    yield from (("name", sample.name), ("family", sample.family), ("version", sample.version))
    yield from (("component", sample.component), *(("tag", tag) for tag in sample.tags or [""]))
    yield from (("notes", sample.notes or ""), ("extension", sample.extension))
    tracks = sample.media_info.get("tracks", [])
    yield from (("codec", track[key]) for track in tracks or [{"": ""}] for key in track if key in ("Format", ""))


def sample_meets(sample: Sample, field: str, value: str) -> bool:
    if field in ("hash", "sha256"):
        hashes = [sample.sha256] + ([sample.md5, sample.sha1] if field == "hash" else [])
        return any(each.startswith(value.lower()) for each in hashes)
    return any(kind == field and matches(field, value, text) for kind, text in texts_of(sample))


def references_of(each: Function) -> Iterator[tuple[str, str]]:
    code = each.disassembly or {}
    yield from (("api", api) for api in code["apirefs"].values())
    yield from (("string", item["string"]) for item in code.get("stringrefs", []))
    yield from ([("label", each.label)] if each.label else [])


def function_meets(each: Function, field: str, value: str) -> bool:
    if field == "name":
        return matches(field, value, each.name)
    if field == "pic_hash":
        return each.pic_hash == int(value, 16)
    return any(kind == field and matches(field, value, text) for kind, text in references_of(each))


def loop(db: SampleDB, words: list[str], terms: list[Term]) -> set[Found]:
    kinds = {value for _, value in select(terms, "kind")}
    found: set[Found] = set()
    first: dict[tuple[str, str], Found] = {}
    for sample in db.iter_samples():
        if not all(sample_meets(sample, *term) for term in select(terms, *SAMPLE_FIELDS)):
            continue
        is_named = all(sample_meets(sample, *term) for term in select(terms, "name"))
        by_hash = len(words) == 1 and len(words[0]) >= 8 and sample_meets(sample, "hash", words[0])
        has_words = contain(words, *(text for _, text in texts_of(sample))) or by_hash
        if is_named and has_words and kinds <= {"sample"} and not select(terms, *FUNCTION_FIELDS):
            found.add(("", "", sample.sample_id, None))
        functions = db.list_functions(sample.sample_id, disassembly=True).values() if kinds <= {"function"} else ()
        for each in functions:
            if all(function_meets(each, *term) for term in select(terms, "name", *FUNCTION_FIELDS)):
                if not words and (kinds or select(terms, "name", *FUNCTION_FIELDS)):
                    found.add(("", "", sample.sample_id, each.function_id))
                for field, text in matches_in(each, words) if words else ():
                    hit = (field, text, sample.sample_id, each.function_id)
                    found.add(first.setdefault((field, text), hit) if field in ("api", "string") else hit)
    return found


def select(terms: list[Term], *fields: str) -> list[Term]:
    return [term for term in terms if term[0] in fields]


def contain(words: list[str], *texts: str) -> bool:
    return all(any(word.lower() in text.lower() for text in texts) for word in words)


def matches_in(each: Function, words: list[str]) -> Iterator[tuple[str, str]]:
    texts = [("function", each.name), *references_of(each)]
    found = [(field, text) for field, text in texts if contain(words, text)]
    # A label is one hit.
    if contain(words, each.comment) and "label" not in dict(found):
        found.append(("comment", each.comment))
    yield from found
    if len(words) == 1 and words[0].startswith("0x") and function_meets(each, "pic_hash", words[0]):
        yield "pic_hash", words[0]


def reduce(hits: list[Hit], words: list[str]) -> list[Found]:
    return [
        (hit.field, hit.text, hit.sample_id, hit.function_id)
        if words and hit.function_id
        else ("", "", hit.sample_id, hit.function_id)
        for hit in hits
    ]


# A store with things to be found in it

APIS = ["kernel32.dll!CreateFileA", "kernel32.dll!CreateFileW", "ws2_32.dll!send", "CreateThread"]
STRINGS = ["http://evil.example/a?b", "create 100% of [all]", "Kernel panic", 'say "hi"']
NAMES = ["", "main", "createMain", "send_all", "?f@@[x]", "main"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleDB]:
    with sampledb.open(tmp_path_factory.mktemp("search") / "search.sampledb") as db:
        for number in range(6):
            functions = []
            for place, name in enumerate(NAMES):
                each = function(4096 * (place + 1), function_name=name, pic_hash=place + number % 2)
                chosen = (number + place) % 4
                each["apirefs"] = {str(4096 * (place + 1)): APIS[chosen]} if place % 3 else {}
                each["stringrefs"] = [{"string": STRINGS[chosen], "ins_addr": 1}] if place % 2 else []
                functions.append(each)
            db.add_sample(
                report(*functions, seed=f"{number}", md5=f"{number % 2:08x}" * 4),
                family=["win.emotet", "emotet", ""][number % 3],
                name=["main.exe", "Create.dll", "a b.bin"][number % 3],
                version=f"{number}.0",
            )
            db.update_sample(number + 1, tags=[["HDTV", "packed"], ["hdtv"], []][number % 3], notes="created by main")
            db.label_function(number + 1, 4096 * (number % 3 + 1), name=["create_it", "", "main"][number % 3])
            db.label_function(number + 1, 4096 * (number % 3 + 1), comment=["creates", "sends a", ""][number % 3])
        db.add_media(
            sha256="ab" * 32,
            name="film.ts",
            tags=["HdTv"],
            media_info={"tracks": [{"Format": "AVC"}, {"Format": "MPEG Video"}, {"Format": "AAC"}]},
        )
        # Its sample comes first, its functions come last.
        db.add_sample(db.get_report(1), replace=True, family="win.emotet")
        yield db


VALUES = {
    "name": ["main", "*main*", "create*", "", "?f@@[x]", "*.EXE", "nothing"],
    "family": ["emotet", "*emotet", "", "Win.*"],
    "tag": ["hdtv", "h*", "", "packed"],
    "notes": ["created", "by*main", "", "none"],
    "version": ["*.0", "2.0"],
    "component": ["", "x"],
    "codec": ["avc", "mpeg*", ""],
    "extension": ["exe", "d*", "ts"],
    "hash": ["00000001", "abababab"],
    "sha256": ["abababab"],
    "api": ["CreateFile*", "kernel32.dll!*", "*", "send", "CREATETHREAD"],
    "string": ["evil", "a?b", "100% of [", 'y "h', "k*p"],
    "label": ["*", "create*", "MAIN"],
    "pic_hash": ["0x3"],
    "kind": ["sample", "function"],
}
WORDS = ["create", "MAIN", "send", "a", "kernel", "hdtv", "100%", "of [all]", "00000001", "0x0000000000000003", "avc"]
terms = st.sampled_from([(field, value) for field, values in VALUES.items() for value in values])


def write(term: Term) -> str:
    """Write a term in quotes if it needs them."""
    field, value = term
    quoted = '"' + value.replace('"', '""') + '"' if re.search(r'[\s"]', value) or not value else value
    return f"{field}:{quoted}" if field else quoted


@settings(max_examples=60)
@given(st.lists(terms, max_size=2), st.lists(st.sampled_from(WORDS), max_size=2, unique=True), st.integers(1, 7))
def test_terms_find_what_a_loop_finds_on_pages_that_neither_overlap_nor_skip(
    store: SampleDB, terms: list[Term], words: list[str], size: int
) -> None:
    text = " ".join([*map(write, terms), *(write(("", word)) for word in words)])
    hits = store.search(text, limit=0)
    found = reduce(hits, words)
    assert len(found) == len(set(found))
    assert set(found) == (loop(store, words, terms) if terms or words else set())
    pages = [store.search(text, start=start, limit=size) for start in range(0, len(hits) + 1, size)]
    assert [hit for page in pages for hit in page] == list(hits)
    if not words:
        assert [hit.score for hit in hits] == [1.0] * len(hits)


def test_the_hit_shows_what_meets_the_first_condition(store: SampleDB) -> None:
    def show(text: str) -> list[tuple[str, str]]:
        return [(hit.field, hit.text) for hit in store.search(text, limit=1)]

    assert show("family:win.emotet api:kernel32* name:*") == [("api", "kernel32.dll!CreateFileW")]
    assert show("tag:PACKED extension:exe") == [("tag", "packed")]
    assert show("codec:aac") == show("AAC") == [("codec", "AAC")]
    assert show("MPEG Video")[0] in [("codec", "MPEG Video"), ("codec", "AVC")]
    assert show("abababab") == [("sha256", "ab" * 32)]
    assert show("pic_hash:0x2") == show("0x0000000000000002") == [("pic_hash", "0x0000000000000002")]


def test_pages_stay_the_same_behind_what_is_scored(db: SampleDB) -> None:
    functions = [function(16 * place, function_name=f"crypt_{place % 2100:x}") for place in range(1, 2300)]
    db.add_sample(report(*functions), name="crypt.exe")
    every = db.search("crypt", limit=0)
    assert len(every) == 2300
    pages = [db.search("crypt", start=start, limit=230) for start in range(0, 2400, 230)]
    assert [hit for page in pages for hit in page] == list(every)
    assert db.search("crypt", start=2**63, limit=5) == []
    assert [hit.score for hit in every[:2000]] == sorted((hit.score for hit in every[:2000]), reverse=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('say "hi', "quote that is not closed"),
        ('tag:"', "quote that is not closed"),
        ("famly:x", "did you mean family:?"),
        ('tags:"a b"', "did you mean tag:?"),
        ("family: x", "right behind the colon"),
        ("kind:both", "kind must be one of sample, function"),
        ("hash:12", "8 to 64 hex digits"),
        ("pic_hash:12*", "pic_hash must be"),
        (" ".join(f"tag:{number}" for number in range(51)), "50 different words"),
    ],
)
def test_bad_syntax_is_explained(db: SampleDB, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        db.search(text)


@pytest.mark.parametrize(
    "text",
    ["std::string", "kernel32.dll!x", r"C:\dir\x", "http://host", "localhost:80", "error:", "a1:b", '"family:x"',
     '"say ""hi"""', "name::x", "C:x", "[id:x]"],
)  # fmt: skip
def test_what_only_looks_like_a_field_is_found_as_it_is(db: SampleDB, text: str) -> None:
    literal = text[1:-1].replace('""', '"') if text.startswith('"') else text
    db.add_sample(report(function(4096, function_name=f"x {literal} y")))
    assert [hit.text for hit in db.search(text)] == [f"x {literal} y"]


@pytest.mark.parametrize(
    "text",
    ["*" * 1000, f"name:{'*' * 900}", f"string:{'*a' * 400}", f"notes:{'a*' * 400}b", "%" * 1000,
     "_ % ~ ' ''", "a" * 1000, f'name:"{"[" * 400}"', '"' * 1000, "\\" * 999, ":" * 999, f"api:{'[!]' * 300}"],
)  # fmt: skip
def test_hostile_texts_end_quickly(db: SampleDB, text: str) -> None:
    each = function(4096, function_name="a" * 100_000)
    each["stringrefs"] = {"4096": "a" * 60_000}
    db.add_sample(report(each), name="a" * 255)
    db.update_sample(1, notes="a" * 1000)
    assert len(db.search(text, limit=0)) <= 3


def test_formats_that_others_changed_are_found_and_salvaged(path: Path) -> None:
    with sampledb.open(path) as db:
        pymediainfo = {"format": "AVC", "codec_id": "V_MPEG4"}
        db.update_sample(1, media_info={"tracks": [{"Format": "AVC", "CodecID": "avc1"}, pymediainfo]})
        assert db.query("SELECT formats FROM samples") == [{"formats": "AVC\navc1\nV_MPEG4"}]
        assert [hit.field for hit in db.search("avc1")] == ["codec"]
        db.update_sample(1, media_info={})
        assert (db.search("avc1"), db.check(deep=True)) == ([], [])
        db.update_sample(1, media_info={"tracks": [{"Format": "AVC"}]})
    assert sampledb.salvage(path, path.with_name("copy")) == []
    with sampledb.open(path.with_name("copy")) as db:
        assert (len(db.search("codec:avc")), db.check(deep=True)) == (1, [])
    with raw(path) as connection:
        connection.execute("UPDATE samples SET formats = 'HEVC'")
    with sampledb.open(path) as db:
        assert "samples, sample_id 1" in [problem.where for problem in db.check(deep=True)]
