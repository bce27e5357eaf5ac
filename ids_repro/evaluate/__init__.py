"""Measure every implementation without traffic: accuracy, time and bit-for-bit equality become records.

The modules may import the packages `data`, `models`, `kernel` and `native`, and the files at the top.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
