"""HTML and control-flow graphs, from plain values."""
