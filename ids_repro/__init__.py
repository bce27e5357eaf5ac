"""Kernel packet processing with a lightweight neural network and a decision tree, reproduced."""

__version__ = "0.1.0"
