"""Decide what of another side's knowledge comes here, and report differences."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from sampledb import limits
from sampledb.database.transfer.side import FIELDS, Side
from sampledb.format.report import Report
from sampledb.model import Difference, Label

Policy: TypeAlias = Literal["keep", "theirs", "newest"]
POLICIES: Final = ("keep", "theirs", "newest")


class Plan(msgspec.Struct):
    """What a merge will do with a sample.

    Attributes:
        changes: Columns to set; `tags` are all tags.
        takes_analysis: Whether their report is to be stored.
        takes_binary: Whether their binary is to be kept.
        labels: Labels to set, which go before those that are there.
        former: Labels to add to the history.
        differences: What is different.
        report: Their report, if it is to be stored.
        binary: The blob of their binary, if it is to be kept.
    """

    changes: dict[str, Any] = {}
    takes_analysis: bool = False
    takes_binary: bool = False
    labels: list[Label] = []
    former: list[Label] = []
    differences: list[Difference] = []
    report: Report | None = None
    binary: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.changes or self.takes_analysis or self.takes_binary or self.labels or self.former)


def decide(ours: Side, theirs: Side, policy: Policy) -> Plan:
    """Return what to do with a sample that both sides know; gaps here are filled whatever the policy."""
    plan = Plan(takes_binary=theirs.has_binary and not ours.has_binary)
    dates = (ours.added_at, theirs.added_at)
    prefers_theirs = policy == "theirs" or (policy == "newest" and None not in dates and dates[0] < dates[1])  # type: ignore[operator]
    kept: Literal["ours", "theirs"] = "theirs" if prefers_theirs else "ours"
    for field in FIELDS:
        if field not in theirs.values or ours.values.get(field) == theirs.values[field]:
            continue
        if field in ours.values:
            plan.differences.append(Difference(field, ours.values[field], theirs.values[field], kept))
        if field not in ours.values or prefers_theirs:
            plan.changes[field] = theirs.values[field]
    _unite_tags(ours, theirs, plan)
    if theirs.has_media and not ours.has_media:
        plan.changes["has_media"] = 1
    plan.changes |= {field: value for field, value in theirs.file.items() if field not in ours.file}
    _decide_analysis(ours, theirs, plan, kept)
    said_here = _group(ours.labels)
    for offset, labels in _group(theirs.labels).items():
        _decide_label(said_here.get(offset, []), labels, policy, plan)
    return plan


def _unite_tags(ours: Side, theirs: Side, plan: Plan) -> None:
    """Add their tags behind ours; those for which there is no room are a difference."""
    together = tuple(limits.unite_tags([*ours.tags, *theirs.tags]).values())
    if together[: limits.MAX_TAGS] != ours.tags:
        plan.changes["tags"] = together[: limits.MAX_TAGS]
    if len(together) > limits.MAX_TAGS:
        plan.differences.append(Difference("tags", list(ours.tags), list(theirs.tags), "ours"))


def _decide_analysis(ours: Side, theirs: Side, plan: Plan, kept: Literal["ours", "theirs"]) -> None:
    """Take their analysis if there is none here. Two are different if their functions are, or SMDA's versions."""
    if theirs.rows is None:
        return
    if ours.rows is None:
        plan.takes_analysis = True
    elif (ours.smda_version, ours.rows) != (theirs.smda_version, theirs.rows):
        plan.takes_analysis = kept == "theirs"
        plan.differences.append(Difference("analysis", _describe(ours), _describe(theirs), kept))


def _describe(side: Side) -> dict[str, Any]:
    return {"smda_version": side.smda_version, "num_functions": len(side.rows or ())}


def _group(labels: Iterable[Label]) -> dict[int, list[Label]]:
    """Return the labels at each offset, the current one last, or else the removal."""
    found: dict[int, list[Label]] = {}
    for label in labels:
        found.setdefault(label.offset, []).append(label)
    return found


def _decide_label(ours: Sequence[Label], theirs: Sequence[Label], policy: Policy, plan: Plan) -> None:
    """Decide which label a function has; all that was said on both sides stays in its history."""
    last, other = ours[-1] if ours else None, theirs[-1]
    is_different = last is not None and _text(last) != _text(other)
    is_newer = last is None or last.updated_at < other.updated_at
    takes = last is None or (is_different and (policy == "theirs" or (policy == "newest" and is_newer)))
    if last is not None and is_different:
        plan.differences.append(
            Difference("label", _text(last), _text(other), "theirs" if takes else "ours", other.offset)
        )
    # A label that was removed there, and never existed here, is history only.
    taken = [msgspec.structs.replace(other, **_text(other))] if takes and (last or other.is_current) else []
    plan.labels += taken
    said = {_key(label) for label in (*ours, *taken)}
    plan.former += [label for label in theirs if _key(label) not in said]


def _key(label: Label) -> tuple[object, ...]:
    return label.name, label.comment, label.username, label.updated_at


def _text(label: Label) -> dict[str, str]:
    """Return what a label says; one that is not current was removed."""
    return {"name": label.name, "comment": label.comment} if label.is_current else {"name": "", "comment": ""}
