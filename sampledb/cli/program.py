"""What all commands share: the file first, `--json`, errors in one line, exit codes, help."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

import click

import sampledb
from sampledb import BusyError, NotFoundError, SampleDB, SampleDBError, StorageError
from sampledb.cli import terminal
from sampledb.cli.progress import Progress
from sampledb.cli.terminal import Answer

#: What a command does with its file: read it; read it, and keep what that makes where it may be written; write to it;
#: write to it, and create it where it is missing; or take its path, because it may be too damaged to be opened.
Access: TypeAlias = Literal["read", "keep", "write", "create", "path"]
_Call: TypeAlias = Callable[..., Answer]
_Arguments: TypeAlias = dict[str, Any]

_FAILED: Final = 1
# The exit codes of shells: 128 plus the number of the signal, SIGINT and SIGPIPE.
_INTERRUPTED: Final = 130
_HUNG_UP: Final = 141

_FILE: Final = click.argument("file", type=click.Path())
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_QUIET: Final = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
_CSV: Final = click.option("--csv", "as_csv", is_flag=True, help="Print a table as CSV, with the fields of --json.")
_ABOUT_SAMPLE: Final = (
    "SAMPLE is an id, a hash (MD5, SHA-1, SHA-256), the first 8 or more digits of one, a name, or a glob of names."
)
_ABOUT_FUNCTION: Final = "FUNCTION is an id, an address in it such as 0x401000, or a name."

# What to run after an error of which the library cannot know the command.
_LISTS: Final = {
    "sample": "list FILE",
    "function": "functions FILE SAMPLE",
    "job": "jobs FILE",
    "family": "families FILE",
}


class Program(click.Group):
    """A group whose help lists its commands in sections."""

    def __init__(self, sections: Mapping[str, Sequence[click.Command]], **attributes: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(**attributes)
        self._sections = sections
        for section in sections.values():
            for each in section:
                self.add_command(each)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401 - click's
        """Run as click does, but escape what was typed, and survive a stdout that fails."""
        terminal.prepare_streams()
        try:
            with _exit_on_error(as_json=False):
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.Abort:
            code = _INTERRUPTED
        except click.ClickException as error:
            code = error.exit_code
            _print_usage_error(error)
        sys.exit(code or 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write a list for each section, all aligned."""
        widest = max(map(len, self.commands))
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{each.name:{widest}}", each.get_short_help_str(100)) for each in section])


def _print_usage_error(error: click.ClickException) -> None:
    message = error.format_message()
    if "--json" in sys.argv:
        terminal.print_error({"code": "usage", "message": message, "details": {}})
        return
    context = getattr(error, "ctx", None)
    terminal.print_error(f"{message} Run `{context.command_path} --help` to see its usage." if context else message)


def command(
    *examples: str,
    access: Access | Callable[[_Arguments], Access] = "read",
    many: bool = False,
    columns: Sequence[str] | None = None,
) -> Callable[[_Call], click.Command]:
    """Make a call a command: open its file, pass its arguments by name, and print its answer.

    Args:
        examples: Command lines for its help, without `sampledb`.
        access: What it does with the file, which may depend on its arguments.
        many: Whether it has many inputs that can fail one by one: the call gets a Progress after the SampleDB.
        columns: The fields of its answer, if that is a table, which `--csv` prints; empty if its rows name them.
    """

    def decorate(call: _Call) -> click.Command:
        @wraps(call)
        def run(file: str, *, as_json: bool, as_csv: bool = False, **arguments: Any) -> NoReturn:  # noqa: ANN401 - of any command
            if as_json and as_csv:
                raise click.UsageError("--json and --csv exclude each other; give one of them.")
            with (
                _exit_on_error(as_json=as_json),
                _open_file(file, access if isinstance(access, str) else access(arguments)) as db,
            ):
                answer = _call_with_progress(call, db, arguments, as_json=as_json) if many else call(db, **arguments)
                # Here, because long answers are read from the file while they are printed.
                terminal.print_answer(answer, as_json=as_json, columns=columns if as_csv else None)
            sys.exit(answer.exit_code)

        name = call.__name__.removesuffix("_").replace("_", "-")
        made = click.command(name)(_FILE(_JSON(_add_option(run, many=many, columns=columns))))
        made.epilog = _describe(made, examples)
        return made

    return decorate


def _add_option(run: Callable[..., NoReturn], *, many: bool, columns: Sequence[str] | None) -> Callable[..., NoReturn]:
    if many:
        return _QUIET(run)
    return run if columns is None else _CSV(run)


def _describe(made: click.Command, examples: Sequence[str]) -> str:
    """Return the end of a command's help: the words for samples and functions, and examples."""
    lines = [each if "| sampledb" in each else f"sampledb {each}" for each in examples]
    # This "\b" keeps click from filling the lines up.
    shown = "\n".join(("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)))
    words = {each.metavar or str(each.name).upper() for each in made.params}
    about = [
        text
        for word, text in (("SAMPLE", _ABOUT_SAMPLE), ("FUNCTION", _ABOUT_FUNCTION))
        if any(word in each for each in words)
    ]
    return "\n\n".join([" ".join(about), shown] if about else [shown])


def _call_with_progress(call: _Call, db: SampleDB, arguments: _Arguments, *, as_json: bool) -> Answer:
    progress = Progress(db, as_json=as_json, quiet=arguments.pop("quiet"))
    with progress.show():
        return call(db, progress, **arguments)


def _open_file(file: str, access: Access) -> AbstractContextManager[Any]:
    # A name that was mistyped is no reason to create a file.
    if access != "create" and not Path(file).exists():
        reason = "there is no such file; `sampledb add` creates one"
        raise StorageError(f"{file}: {reason}.", {"path": file, "reason": reason})
    if access == "path":
        return nullcontext(file)
    is_fixed = not all(os.access(each, os.W_OK) for each in (file, Path(file).resolve().parent))
    return sampledb.open(file, readonly=access == "read" or (access == "keep" and is_fixed))


@contextmanager
def _exit_on_error(*, as_json: bool) -> Iterator[None]:
    """Turn what ends a command early into a message and an exit code of the shell."""
    try:
        yield
    except SampleDBError as error:
        _fail(error, _FAILED, as_json=as_json)
    except BrokenPipeError:
        terminal.discard_output()
        sys.exit(_HUNG_UP)
    except OSError as error:
        # If stdout failed, Python would write to it again.
        terminal.discard_output()
        details = {"path": str(error.filename or "stdout"), "reason": error.strerror or str(error)}
        _fail(StorageError("{path}: {reason}.".format(**details), details), _FAILED, as_json=as_json)
    except KeyboardInterrupt:
        _fail(SampleDBError("Interrupted; what was done until now is kept."), _INTERRUPTED, as_json=as_json)


def _fail(error: SampleDBError, exit_code: int, *, as_json: bool) -> NoReturn:
    terminal.print_error(error.to_dict() if as_json else f"{error.message} {_advise(error)}".rstrip())
    sys.exit(exit_code)


def _advise(error: SampleDBError) -> str:
    """Return what to do about an error, if there is anything."""
    if isinstance(error, BusyError):
        return "Try again later."
    if isinstance(error, NotFoundError) and (lists := _LISTS.get(error.details["resource"])):
        return f"Run `sampledb {lists}` to see which there are."
    return ""
