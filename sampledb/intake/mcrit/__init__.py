"""MCRIT's export files, `.mcrit`: their samples as SMDA reports, and reports as their samples."""
