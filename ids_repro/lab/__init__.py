"""Records the lab capture: real programs on hosts of our own make Normal traffic and attacks, with a label each.

It may import: the package's top-level files, `network` and `data.labels`.
"""

__all__ = ["activity", "actors", "attacks", "files", "normal", "record", "servers", "web_app"]
