"""HTML and control-flow graphs of records."""
