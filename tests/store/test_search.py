"""Finding samples by hash and by text."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import Hit, InvalidInputError, NotFoundError, SampleDB
from tests import strategies
from tests.markers import every_platform
from tests.raw import raw
from tests.strategies import function, report


def named(seed: str, *names: str, **fields: Any) -> dict[str, Any]:
    """A report of a file of its own, with functions of these names."""
    functions = [function(4096 * (place + 1), function_name=name) for place, name in enumerate(names)]
    return report(*functions, seed=seed, **fields)


def texts(hits: list[Hit]) -> list[str]:
    return [hit.text for hit in hits]


# By text


def test_a_part_of_a_function_name_finds_the_function(db: SampleDB) -> None:
    sample = db.add_sample(named("a", "main", "aes_encrypt_block"), name="tool.exe")
    (hit,) = db.search("crypt")
    function_id = sample.sample_id + 1
    assert hit.to_dict() == {
        "sample_id": sample.sample_id,
        "function_id": function_id,
        "field": "function",
        "text": "aes_encrypt_block",
        "sample": "tool.exe",
        "offset": db.get_function(sample.sample_id, function_id).offset,
        "score": hit.score,
    }


@pytest.mark.parametrize("field", ["name", "family", "version", "component", "tag", "notes", "extension", "codec"])
def test_every_text_of_a_sample_finds_it_and_is_named(db: SampleDB, field: str) -> None:
    db.add_sample(named("other"))
    sample = db.add_sample(named("a"))
    argument = {"tag": "tags", "family": "family_name", "codec": "media_info"}.get(field, field)
    db.update_sample(sample.sample_id, **{argument: _value(field)})
    (hit,) = db.search("edl")
    assert (hit.sample_id, hit.function_id, hit.field, hit.text) == (sample.sample_id, None, field, "needle")


def _value(field: str) -> Any:
    if field == "codec":
        return {"tracks": [{"Format": "hay"}, {"Format": 5, "CodecID": " needle\n"}, "odd", {"Title": "needles"}]}
    return ["hay", "needle"] if field == "tag" else "needle"


def test_words_may_stand_in_different_fields_and_all_must_be_there(db: SampleDB) -> None:
    db.add_sample(named("a", "parse_header"), family="emotet", name="loader.dll")
    assert texts(db.search("emotet loader")) == ["emotet"] or texts(db.search("emotet loader")) == ["loader.dll"]
    assert texts(db.search("header parse")) == ["parse_header"]
    assert db.search("emotet stealer") == db.search("parse footer") == []


def test_the_best_hit_comes_first(db: SampleDB) -> None:
    db.add_sample(named("a", "decrypt_all_of_it", "encrypted", "wordcrypto", "do_crypt", "crypt", "crypt_block"))
    found = db.search("crypt")
    assert texts(found)[:3] == ["crypt", "crypt_block", "do_crypt"]
    assert found[0].score == 1.0
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert all(0 < hit.score <= 1 for hit in found)


def test_each_name_is_given_once_before_any_is_given_twice(db: SampleDB) -> None:
    for number in range(20):
        db.add_sample(named(f"many {number}", "memcpy"))
    db.add_sample(named("last", "memcpy_chk", "wmemcpy"))
    assert sorted(texts(db.search("memcpy", limit=4))) == ["memcpy", "memcpy", "memcpy_chk", "wmemcpy"]
    assert len(db.search("memcpy", limit=0)) == 22
    assert sorted(texts(db.search('memcpy tag:""', limit=3))) == ["memcpy", "memcpy_chk", "wmemcpy"]


@pytest.mark.parametrize("name", ["invoice (1).pdf.exe", "a-b_c.d", 'say "hi"', "100%_sure", r"C:\x\y.dll", "f(int*)"])
def test_punctuation_means_itself(db: SampleDB, name: str) -> None:
    db.add_sample(named("a", name + "x"), name=name)
    db.add_sample(named("b", "unlike"), name="unlike")
    assert {hit.text for hit in db.search(name)} == {name, name + "x"}
    assert {hit.text for hit in db.search(name[-4:])} <= {name, name + "x"}


@pytest.mark.parametrize(
    "text", ["NEAR(a b)", '"name:x"', "name::x", '""', "a AND", "*", "^x", "%", "_", "\\", "'; DROP TABLE x"]
)
def test_no_character_has_a_meaning_of_its_own(db: SampleDB, text: str) -> None:
    db.add_sample(named("a", "abc", "x_y"), name="plain")
    assert all(text.strip('"').casefold() in hit.text for hit in db.search(text))


def test_words_of_one_or_two_characters_find_too(db: SampleDB) -> None:
    db.add_sample(named("a", "gzopen", "inflate"), name="z")
    assert texts(db.search("gz")) == ["gzopen"]
    assert texts(db.search("z")) == ["z", "gzopen"]
    assert texts(db.search("fl in")) == ["inflate"]


def test_capitals_do_not_matter(db: SampleDB) -> None:
    db.add_sample(named("a", "CryptAcquireContextW"))
    assert texts(db.search("cryptacquire")) == texts(db.search("CRYPTACQUIRE")) == ["CryptAcquireContextW"]


@pytest.mark.parametrize("name", ["ÜBER_init", "Привет", "ΣΑΣ", "İstanbul", "ÄRGER"])
def test_capitals_of_other_scripts_are_found_as_they_are(db: SampleDB, name: str) -> None:
    db.add_sample(named("a", name), name=f"{name}.EXE")
    for start in range(len(name) - 2):
        assert texts(db.search(name[start:])) == [name, f"{name}.EXE"]


def test_what_matches_best_is_never_crowded_out(db: SampleDB) -> None:
    for number in range(40):
        db.add_sample(named(f"same {number}", "crypt"))
    db.add_sample(
        named("a", *(f"x{number:04}crypt" for number in range(2500)), "crypt_acquire_context"), name="crypt.exe"
    )
    assert texts(db.search("crypt", limit=3)) == ["crypt", "crypt.exe", "crypt_acquire_context"]
    assert texts(db.search("crypt", limit=50)).count("crypt") == 1


@pytest.mark.slow
def test_notes_do_not_hide_a_name(db: SampleDB) -> None:
    for number in range(2100):
        db.add_media(sha256=f"{number:064x}", notes="a preemotetpost b")
    db.add_media(sha256="f" * 64, name="emotet.exe")
    assert texts(db.search("emotet", limit=1)) == ["emotet.exe"]


def test_a_text_of_many_words_is_refused_before_it_takes_long(db: SampleDB) -> None:
    db.add_media(sha256="0" * 64, notes="xa" * 500)
    assert len(db.search("a " * 499)) == 1
    with pytest.raises(InvalidInputError, match="50 different words"):
        db.search(" ".join(map(str, range(51))))


def test_an_index_that_others_made_disagree_repairs_itself(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("UPDATE samples SET notes = 'changed by another program' WHERE sample_id = 1")
        connection.execute("UPDATE functions SET name = 'also' WHERE function_id = 1")
    with sampledb.open(path) as db:
        db.add_sample(named("other", "stays"))
        db.tag_sample(1, "tagged")
        assert len(db.search("changed")) == len(db.search("tagged")) == len(db.search("stays")) == 1
        assert db.delete_sample(1)
        assert db.search("changed") == []
        assert db.check(deep=True) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM function_search_config",
        "UPDATE function_search_config SET v = 99 WHERE k = 'version'",
        "DELETE FROM function_search_data WHERE id = 1",
        "DELETE FROM function_search_data WHERE id = 10",
        "UPDATE function_search_data SET block = x'00'",
        "DELETE FROM function_search_data WHERE id > 10",
    ],
)
def test_an_index_in_pieces_is_found_and_salvaged(path: Path, damage: str) -> None:
    with sampledb.open(path) as db:
        db.add_sample(named("new", "some_name"))
    with raw(path) as connection:
        connection.execute(damage)
    with sampledb.open(path, readonly=True) as db:
        assert db.check(deep=True)
    assert sampledb.salvage(path, path.with_name("new")) == []
    with sampledb.open(path.with_name("new")) as db:
        assert db.check(deep=True) == []
        assert texts(db.search("some_name")) == ["some_name"]


def test_blank_text_finds_nothing_and_bad_text_is_refused(db: SampleDB) -> None:
    assert db.search("") == db.search(" \t\n") == []
    for text in ("a\0b", "\ud800", "x" * 1001, None, 5):
        with pytest.raises(InvalidInputError):
            db.search(text)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        db.search("a", limit=-1)


def test_the_index_follows_every_change(db: SampleDB) -> None:
    first = db.add_sample(named("a", "shared_name", "only_first"), family="old").sample_id
    second = db.add_sample(named("b", "shared_name")).sample_id
    db.update_sample(first, family_name="new", notes="needle")
    assert (texts(db.search("old")), texts(db.search("new")), len(db.search("needle"))) == ([], ["new"], 1)
    db.tag_sample(first, "packed")
    assert texts(db.search("packed")) == ["packed"]
    db.add_sample(named("a", "replaced"), replace=True)
    assert db.search("only_first") == []
    assert [hit.sample_id for hit in db.search("shared_name")] == [second]
    assert [hit.sample_id for hit in db.search("replaced")] == [first]
    db.delete_sample(second)
    assert db.search("shared_name") == []
    db.compact()
    assert [hit.sample_id for hit in db.search("replaced")] == [first]
    assert db.check(deep=True) == []


@given(data=st.data(), given_reports=st.lists(strategies.reports(), max_size=3, unique_by=lambda each: each["sha256"]))
def test_whatever_a_name_holds_each_part_of_it_finds_it(
    data: st.DataObject, given_reports: list[dict[str, Any]]
) -> None:
    with sampledb.open(":memory:") as db:
        for each in given_reports:
            db.add_sample(each)
        functions = [each for each in db.iter_functions() if each.name.isascii() and each.name.split()]
        if functions:
            word = data.draw(st.sampled_from(data.draw(st.sampled_from(functions)).name.split()))
            start = data.draw(st.integers(0, len(word) - 1))
            part = word[start : data.draw(st.integers(start + 1, len(word)))]
            quoted = '"' + part[:400].replace('"', '""') + '"'
            expected = {each.function_id for each in functions if part.lower() in each.name.lower()}
            assert expected <= {hit.function_id for hit in db.search(quoted, limit=0)}
        assert db.check(deep=True) == []


def test_an_index_that_disagrees_is_found(db: SampleDB) -> None:
    db.add_sample(named("a", "some_name"))
    with db._connections.writing() as connection:
        connection.execute("INSERT INTO function_search (rowid, name) VALUES (7, 'never there')")
    (problem,) = db.check(deep=True)
    assert problem.where == "function_search, rowid 7"


@every_platform
def test_real_names_are_found(filled: SampleDB) -> None:
    names = {each.name for each in filled.iter_functions() if each.name}
    assert names
    for name in sorted(names)[:50]:
        assert name in texts(filled.search(name[:1000]))


# By hash


def test_each_hash_and_each_long_enough_beginning_finds_the_sample(db: SampleDB) -> None:
    sample = db.add_sample(named("a", md5="0123456789abcdef" * 2, sha1="fedcba98765432100123456789abcdef01234567"))
    db.add_sample(named("b"))
    for digest in (sample.sha256, sample.md5, sample.sha1):
        for length in (8, 9, len(digest) - 1, len(digest)):
            assert db.find_sample(digest[:length]) == db.find_sample(digest[:length].upper()) == sample


def test_a_hash_that_nothing_has_is_not_found(db: SampleDB) -> None:
    db.add_sample(named("a"))
    with pytest.raises(NotFoundError):
        db.find_sample(hashlib.sha256(b"other").hexdigest())


def test_a_beginning_of_several_hashes_is_refused(db: SampleDB) -> None:
    db.add_sample(named("a", sha256="ab" * 32, md5="cd" * 16))
    db.add_sample(named("b", sha256="ab" * 31 + "cd", md5="cd" * 16))
    for digits in ("ab" * 4, "ab" * 31, "cd" * 16):
        with pytest.raises(InvalidInputError, match="1 and 2"):
            db.find_sample(digits)


@pytest.mark.parametrize("digits", ["", "abcdef0", "x" * 8, "a" * 65, "abcdef0g", "abcdef01\n", None, 12345678])
def test_what_is_no_hash_is_refused(db: SampleDB, digits: Any) -> None:
    with pytest.raises(InvalidInputError):
        db.find_sample(digits)


# Tags


def test_tags_are_added_behind_and_removed(db: SampleDB) -> None:
    sample_id = db.add_media(sha256="0" * 64, tags=["b", "a"]).sample_id
    assert db.tag_sample(sample_id, "c", "a").tags == ("b", "a", "c")
    assert db.tag_sample(sample_id, "d", remove=["b", "never"]).tags == ("a", "c", "d")
    assert db.tag_sample(sample_id).tags == ("a", "c", "d")


def test_tags_that_break_a_rule_change_nothing(db: SampleDB) -> None:
    sample_id = db.add_media(sha256="0" * 64, tags=[str(number) for number in range(50)]).sample_id
    for tags in (["more"], [""], ["x" * 51], [5]):
        with pytest.raises(InvalidInputError):
            db.tag_sample(sample_id, *tags)
    with pytest.raises(InvalidInputError):
        db.tag_sample(sample_id, remove="abc")
    with pytest.raises(NotFoundError):
        db.tag_sample(9, "a")
    assert len(db.get_sample(sample_id).tags) == 50


def test_tags_that_differ_by_capitals_are_one(db: SampleDB) -> None:
    sample_id = db.add_media(sha256="0" * 64, tags=["hdtv", "Ärger"]).sample_id
    db.add_sample(report(function(4096)), name="x")
    assert db.tag_sample(sample_id, "HDTV", "New").tags == ("hdtv", "Ärger", "New")
    assert db.tag_sample(2, "HdTv").tags == ("HdTv",)
    assert [*db.list_samples(tag="HDTV")] == [1, 2]
    assert len([*db.find_functions(tag="hdtv")]) == 1
    assert [*db.list_samples(tag="ärger")] == []
    assert db.stats().num_tags == 3
    assert db.tag_sample(sample_id, remove=["HDTV"]).tags == ("Ärger", "New")
    with pytest.raises(InvalidInputError, match="capitals"):
        db.update_sample(sample_id, tags=["a", "A"])
    plan = db.query("EXPLAIN QUERY PLAN SELECT sample_id FROM sample_tags WHERE tag = 'A'")
    assert "USING COVERING INDEX sample_tags_by_tag (tag=?)" in plan[0]["detail"]
