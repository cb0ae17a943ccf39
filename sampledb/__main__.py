"""Run the command line by `python -m sampledb`."""

from sampledb.cli import main

# Otherwise its help and the completion scripts would name `python -m sampledb`.
main(prog_name="sampledb")
