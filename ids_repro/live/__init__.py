"""Programs that stay on an interface: attach them, look at them, swap their model, take suspects, detach them.

The modules may import the packages kernel, models, network and native, and the files at the top. Looking at a program
needs neither PyTorch, scikit-learn nor BCC. Reading a model imports the first two. Building a program and taking
suspects import BCC.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
