"""The command line `sampledb`: what its sub-commands are, and in which order help lists them."""

import click

from sampledb.cli.commands import add as adding
from sampledb.cli.commands import analyze as disassembling
from sampledb.cli.commands import edit as changing
from sampledb.cli.commands import file as keeping
from sampledb.cli.commands import show as showing
from sampledb.cli.program import Program

_SECTIONS = {
    "Add": [adding.add, adding.add_media, disassembling.analyze],
    "Disassemble": [disassembling.submit, disassembling.run, disassembling.jobs],
    "Show": [
        showing.list_,
        showing.show,
        showing.functions,
        showing.function,
        showing.families,
        showing.search,
        showing.report,
        showing.query,
    ],
    "Change": [changing.update, changing.tag, changing.delete],
    "Look after the file": [
        keeping.stats,
        keeping.check,
        keeping.backup,
        keeping.compact,
        keeping.salvage,
        keeping.schema,
    ],
}
_EPILOG = """\b
Every command takes the file first, and --json to print for machines. SAMPLE is
an id, a hash (MD5, SHA-1, SHA-256), or 8 and more first digits of a hash.

\b
Exit codes: 0 done, 1 an error, 2 wrong usage, 3 done but for what failed (or
check found damage, or salvage lost something), 130 interrupted, 141 the reader
of a pipe has gone.

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
