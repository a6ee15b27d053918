"""The update rules, one file per family, each written once, as its paper has it."""

from adamas.rules import adagrad, adam, adamax, belief, gradient_descent, modern

__all__ = ["adagrad", "adam", "adamax", "belief", "gradient_descent", "modern"]
