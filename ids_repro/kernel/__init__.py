"""Build, load, run and attach the kernel program: bpf(2), BCC, the program's variants and its maps.

The modules may import the packages `native` and `network`, and the files at the top. They need neither PyTorch nor
scikit-learn. Only `bcc` imports BCC, and only when a program is built or suspects are taken from the ring buffer.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
