"""Which states of a rule are never negative: found from its source, so that a code of 8 bits need not keep a sign."""

import ast
import math
from collections.abc import Mapping
from typing import Any

from adamas import intrinsics
from adamas.dialect import Source, Straight, evaluate, names
from adamas.hyperparameters import examples

_WORDS = {word: getattr(intrinsics, word) for word in ("sqrt", "sign", "maximum", "minimum", "where")}


def nonnegative(straight: Straight, source: Source, hyper: Mapping[str, Any]) -> frozenset[str]:
    """The states that stay at 0 or above when they begin at 0, whatever numbers the hyperparameters are.

    All are supposed to be, and those whose new value need not be fall out, until none does.

    Args:
        straight: the rule after its static choices.
        source: the rule.
        hyper: hyperparameter -> value, of which flags and words count.
    """
    trials = [
        {**_WORDS, **source.scalars, **values, "t": count}
        for count in (1.0, 2.0, 1000.0)
        for values in examples(hyper, 16)
    ]
    supposed = set(source.states)
    while True:
        known = _Known(trials, supposed)
        for targets, value in straight.assignments:
            known.assign(targets, value)
        new = dict(zip(source.states, straight.results[1:], strict=False))
        refuted = {state for state in supposed if not known.holds(new[state])}
        if not refuted:
            return frozenset(supposed)
        supposed -= refuted


class _Known:
    """What is known of each name on the way through a rule: its values, or whether it is never negative."""

    def __init__(self, trials: list[dict[str, Any]], supposed: set[str]) -> None:
        self.values = [dict(values) for values in trials]
        self.never = set(supposed)

    def assign(self, targets: tuple[str, ...], value: ast.expr) -> None:
        if self._is_uniform(value):
            for values in self.values:
                result = _evaluate(value, values)
                values.update(
                    dict.fromkeys(targets, result) if len(targets) == 1 else zip(targets, result, strict=True)
                )
            return
        never = self.holds(value)
        for target in targets:
            for values in self.values:
                values.pop(target, None)
            self.never.discard(target)
            if never:
                self.never.add(target)

    def holds(self, node: ast.expr) -> bool:
        """Whether an expression is never negative."""
        if self._is_uniform(node):
            return all(_positive(_evaluate(node, values)) for values in self.values)
        match node:
            case ast.Name(id=name):
                return name in self.never
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return (isinstance(right, ast.Constant) and right.value == 2) or self.holds(left)
            case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.Div(), right=right):
                same = isinstance(node.op, ast.Mult) and ast.unparse(left) == ast.unparse(right)
                return same or (self.holds(left) and self.holds(right))
            case ast.Call(func=ast.Name(id="sqrt" | "abs")):
                return True
            case ast.Call(func=ast.Name(id="maximum"), args=[a, b]):
                return self.holds(a) or self.holds(b)
            case (
                ast.Call(func=ast.Name(id="minimum"), args=[a, b]) | ast.Call(func=ast.Name(id="where"), args=[_, a, b])
            ):
                return self.holds(a) and self.holds(b)
            case _:
                return False

    def _is_uniform(self, node: ast.expr) -> bool:
        return all(name in self.values[0] for name in names(node))


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    try:
        return evaluate(node, values)
    except (ArithmeticError, TypeError):  # a TypeError where a negative number to some power is complex
        return math.nan  # of which nothing is known


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 0
