"""The C code of bpf/ compiled for user space and called from Python, and every byte layout that C and Python share.

The modules may import the files at the top and no other room.
"""

__all__ = ["build", "layouts", "library", "stream"]
