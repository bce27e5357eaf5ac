"""Hosts, the links between them, settings of network interfaces, and ssh; every change is undone at the end.

It may import: the package's top-level files.
"""

__all__ = ["facts", "hosts", "namespaces", "setting_kinds", "ssh", "ssh_peer", "tuning"]
