"""Find the label of a flow: in a schedule of what was run when, or in files that have a row for each flow.

This package may import what `ids_repro.data` may, and nothing else of `ids_repro.data`.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
