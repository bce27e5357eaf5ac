"""Records -> tables, figures and the report.

The modules here may import only the top-level modules of `ids_repro`: no PyTorch, scikit-learn or BCC is loaded, and no
root is needed.
Every table and figure is an `exhibit.Exhibit`; `page.sections` lists them all.
"""

from pkgutil import iter_modules

__all__ = [module.name for module in iter_modules(__path__)]
