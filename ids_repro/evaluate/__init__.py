"""Measure every implementation: accuracy, time, bit-for-bit equality and what detectors find become records.

Nothing here needs traffic but `end_to_end`, which runs the lab's. The modules may import the packages `data`, `models`,
`kernel`, `native`, `network` and `lab`, and the files at the top.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
