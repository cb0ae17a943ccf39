"""`python -m sampledb`, the same as the command `sampledb`."""

from sampledb.cli import main

# Otherwise its help, and the scripts for completion, would be about `python -m sampledb`.
main(prog_name="sampledb")
