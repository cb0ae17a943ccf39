"""The command line `sampledb`: its commands, in the order of its help."""

import click

from sampledb.cli.commands import (
    changes,
    code,
    file,
    functions,
    jobs,
    labels,
    reports,
    samples,
    search,
    sharing,
    similar,
)
from sampledb.cli.program import Program

_SECTIONS = {
    "Add": [reports.add, samples.add_media, jobs.analyze, sharing.merge],
    "Disassemble": [jobs.submit, jobs.run, jobs.jobs],
    "Show": [
        samples.list_,
        samples.show,
        functions.functions,
        functions.function,
        samples.families,
        labels.labels,
        sharing.page,
        reports.report,
        sharing.export,
    ],
    "Ask": [
        search.search,
        code.find,
        code.apis,
        code.strings,
        code.callers,
        code.callees,
        code.twins,
        similar.similar,
        similar.related,
        similar.compare,
        search.query,
        sharing.table,
    ],
    "Change": [changes.update, changes.tag, labels.label, changes.delete],
    "Look after the file": [file.stats, file.check, file.backup, file.compact, file.salvage, file.schema],
}
_EPILOG = """\b
Every command takes the file first, and --json to print JSON; those that print a
table take --csv too. SAMPLE is an id, a hash (MD5, SHA-1, SHA-256), the first 8
or more digits of one, a name, or a glob of names. FUNCTION is an id, an address
in it such as 0x401000, or a name.

\b
Exit codes: 0 success, 1 error, 2 wrong usage, 3 some inputs failed (or check
found damage, or salvage lost something), 130 interrupted, 141 the reader of a
pipe has gone.

\b
Completion:
  bash  eval "$(_SAMPLEDB_COMPLETE=bash_source sampledb)"
  zsh   eval "$(_SAMPLEDB_COMPLETE=zsh_source sampledb)"
  fish  _SAMPLEDB_COMPLETE=fish_source sampledb | source
"""


@click.group(cls=Program, sections=_SECTIONS, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sampledb")
def main() -> None:
    """Keep samples and their functions in one file."""
