"""Measure every method under traffic, and record what became of each packet (Sec. V-B, Figs. 4 and 5).

The modules here may import the top-level modules of `ids_repro`, `native`, `data`, `models`, `network` and `kernel`.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
