"""Adam and its family: each update rule written once, run at the speed of memory."""

__version__ = "0.1.0"
