"""The models: train them in float, calibrate them, make the integer models of them, and keep both in a file.

The integer models are the NumPy twins of the C headers in bpf/: a twin computes in NumPy what the C computes, bit for
bit, and its module has the header's name. The modules may import the rooms data and native, and the files at the top.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
