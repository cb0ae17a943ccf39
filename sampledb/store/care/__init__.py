"""Check, back up and salvage a file."""
