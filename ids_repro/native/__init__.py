"""The C code of bpf/ compiled for user space and called from Python, and every byte layout that C and Python share.

The modules may import the files at the top and no other room.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
