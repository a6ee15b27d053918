"""The update rules, one file per family, each written once, as its paper has it."""

from adamas.registry import seal
from adamas.rules import adagrad, adam, adamax, belief, gradient_descent, modern

seal()

__all__ = ["adagrad", "adam", "adamax", "belief", "gradient_descent", "modern"]
