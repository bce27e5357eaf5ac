"""Turn captures and labels into a dataset: packets, their flows, the twelve features and the label of each flow.

This package may import `ids_repro.native` and the files at the top of `ids_repro`.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
