"""Records the lab capture: real programs on hosts of our own make Normal traffic and attacks, with a label each.

It may import: the package's top-level files, `network` and `data.labels`.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
