"""Hosts, the links between them, settings of network interfaces, and ssh; every change is undone at the end.

It may import: the package's top-level files.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
