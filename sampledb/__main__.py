"""`python -m sampledb`, the same as the command `sampledb`."""

from sampledb.cli import main

main()
