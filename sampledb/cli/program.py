"""What all sub-commands share: the file first, `--json`, errors as one line, exit codes, the help that lists them."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

import click

import sampledb
from sampledb import BusyError, InvalidInputError, NotFoundError, SampleDB, SampleDBError, StorageError
from sampledb.cli import progress as ledger
from sampledb.cli import terminal
from sampledb.cli.terminal import Answer
from sampledb.model import Sample

#: What a command does with its file: read it; write to it; write to it, and create it where it is missing; or take its
#: path, because it may be too damaged to be opened.
Access: TypeAlias = Literal["read", "write", "create", "path"]
_Call: TypeAlias = Callable[..., Answer]
_Arguments: TypeAlias = dict[str, Any]

_FAILED: Final = 1
# As shells have it: 128 and the number of the signal, SIGINT and SIGPIPE.
_INTERRUPTED: Final = 130
_HUNG_UP: Final = 141

_FILE: Final = click.argument("file", type=click.Path())
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_QUIET: Final = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
#: One sample; see `sample_named`.
SAMPLE: Final = click.argument("sample")
_ABOUT_SAMPLE: Final = "SAMPLE is an id, a hash (MD5, SHA-1, SHA-256), or 8 and more first digits of one."

# What to do about an error, which its message does not say: that is the library's.
_SEE: Final = {"sample": "list FILE", "function": "functions FILE SAMPLE", "job": "jobs FILE"}
# A hash may be given by so many of its first digits; a number of fewer is an id.
_SHORTEST_PREFIX: Final = 8
_LONGEST_PREFIX: Final = 63


class Program(click.Group):
    """A group whose help lists its commands in sections."""

    def __init__(self, sections: Mapping[str, Sequence[click.Command]], **attributes: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(**attributes)
        self._sections = sections
        for section in sections.values():
            for each in section:
                self.add_command(each)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401 - click's
        """As click's, but nothing that was typed reaches a terminal as it is, and stdout may fail."""
        terminal.prepare()
        try:
            with _failing(as_json=False):
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.Abort:
            code = _INTERRUPTED
        except click.ClickException as error:
            code = error.exit_code
            _explain(error)
        sys.exit(code or 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """A list for each section, all aligned."""
        widest = max(map(len, self.commands))
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{each.name:{widest}}", each.get_short_help_str(100)) for each in section])


def _explain(error: click.ClickException) -> None:
    message = error.format_message()
    if "--json" in sys.argv:
        terminal.complain_json({"code": "usage", "message": message, "details": {}})
        return
    context = getattr(error, "ctx", None)
    if context:
        message = f"{message} `{context.command_path} --help` shows how it is used."
    terminal.complain(message)


def command(
    *examples: str, access: Access | Callable[[_Arguments], Access] = "read", many: bool = False
) -> Callable[[_Call], click.Command]:
    """A sub-command: the call with its file open and its arguments by name, whose answer is printed.

    Args:
        examples: Command lines for its help, without `sampledb`.
        access: What it does with the file, which may depend on its arguments.
        many: It does many things that may fail one by one: the call gets a Ledger after the SampleDB.
    """

    def decorate(call: _Call) -> click.Command:
        @wraps(call)
        def run(file: str, *, as_json: bool, **arguments: Any) -> NoReturn:  # noqa: ANN401 - of any command
            terminal.prepare()
            with _failing(as_json=as_json):
                with _opened(file, access if isinstance(access, str) else access(arguments)) as db:
                    answer = _answered(call, db, arguments, as_json=as_json)
                terminal.show(answer, as_json=as_json)
            sys.exit(answer.exit_code)

        declared = _JSON(_QUIET(run)) if many else _JSON(run)
        name = call.__name__.removesuffix("_").replace("_", "-")
        made = click.command(name)(_FILE(declared))
        made.epilog = _epilog(examples, explains_sample=any(each.name in {"sample", "samples"} for each in made.params))
        return made

    return decorate


def _epilog(examples: Sequence[str], *, explains_sample: bool) -> str:
    lines = [each if "| sampledb" in each else f"sampledb {each}" for each in examples]
    # This "\b" keeps click from filling the lines up.
    shown = "\n".join(("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)))
    return f"{_ABOUT_SAMPLE}\n\n{shown}" if explains_sample else shown


def _answered(call: _Call, db: SampleDB, arguments: _Arguments, *, as_json: bool) -> Answer:
    if "quiet" not in arguments:
        return call(db, **arguments)
    with ledger.opened(db, as_json=as_json, quiet=arguments.pop("quiet")) as kept:
        return call(db, kept, **arguments)


def _opened(file: str, access: Access) -> AbstractContextManager[Any]:
    # A name that was mistyped is no reason to create a file.
    if access != "create" and not Path(file).exists():
        reason = "there is no such file; `sampledb add` creates one"
        raise StorageError(f"{file}: {reason}.", {"path": file, "reason": reason})
    return nullcontext(file) if access == "path" else sampledb.open(file, readonly=access == "read")


@contextmanager
def _failing(*, as_json: bool) -> Iterator[None]:
    """What ends a command early, in the words and exit codes of a shell."""
    try:
        yield
    except SampleDBError as error:
        _fail(error, _FAILED, as_json=as_json)
    except BrokenPipeError:
        terminal.hang_up()
        sys.exit(_HUNG_UP)
    except OSError as error:
        # Where it is stdout that fails, Python would try it once more.
        terminal.hang_up()
        details = {"path": str(error.filename or "stdout"), "reason": error.strerror or str(error)}
        _fail(StorageError("{path}: {reason}.".format(**details), details), _FAILED, as_json=as_json)
    except KeyboardInterrupt:
        _fail(SampleDBError("Interrupted; what was done until now is kept."), _INTERRUPTED, as_json=as_json)


def _fail(error: SampleDBError, exit_code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        terminal.complain_json(error.to_dict())
    else:
        terminal.complain(" ".join(filter(None, (error.message, _advice(error)))))
    sys.exit(exit_code)


def _advice(error: SampleDBError) -> str:
    """What to do about it."""
    if isinstance(error, BusyError):
        return "Try again when that is done."
    if isinstance(error, NotFoundError) and (see := _SEE.get(error.details["resource"])):
        return f"`sampledb {see}` shows those there are."
    return ""


def sample_named(db: SampleDB, name: str) -> Sample:
    """The sample of an id, a hash, or the first digits of a hash; a number that could be either is first an id."""
    is_number = name.isascii() and name.isdecimal()
    if not is_number or len(name) > _LONGEST_PREFIX:
        return db.find_sample(name)
    try:
        return db.get_sample(int(name))
    except (InvalidInputError, NotFoundError):
        if len(name) < _SHORTEST_PREFIX:
            raise
        return db.find_sample(name)
