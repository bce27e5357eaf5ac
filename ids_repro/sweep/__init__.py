"""Measure every method under traffic, and record what became of each packet (Sec. V-B, Figs. 4 and 5).

The modules here may import the top-level modules of `ids_repro`, `native`, `models`, `network` and `kernel`.
"""

__all__ = [
    "generators",
    "link",
    "link_netns",
    "link_ssh",
    "load_agent",
    "methods",
    "plan",
    "receivers",
    "run",
    "sender",
    "trial",
    "uplink",
]
