"""Zstandard: Python's own library since 3.14, and its backport before. Imported only when it is needed."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
