"""The host: what does not depend on the coordinate, in Python's float64, once a step.

A call costs more than what a word computes, so words give way to what they stand for in `adamas.intrinsics`.
"""

import ast
import copy
import inspect
from collections.abc import Mapping
from functools import cache

from adamas import intrinsics
from adamas.lowering.source import Program


def render(program: Program) -> str:
    """The text of ``host(t, scalars, hyperparameters)``, which gives coefficients and new scalars; it needs `math`."""
    return ast.unparse(_Spelt().visit(ast.parse(program.host_text()))) + "\n"


@cache
def _meanings() -> Mapping[str, tuple[list[str], ast.expr]]:
    """word -> its operands, and the expression that it returns."""
    meanings: dict[str, tuple[list[str], ast.expr]] = {}
    for node in ast.parse(inspect.getsource(intrinsics)).body:
        match node:
            case ast.FunctionDef(
                name=word, args=ast.arguments(args=operands), body=[_, ast.Return(ast.expr() as value)]
            ):
                meanings[word] = [operand.arg for operand in operands], value
            case _:
                pass
    return meanings


class _Spelt(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        word = node.func.id if isinstance(node.func, ast.Name) else ""
        if word not in _meanings() or not all(isinstance(arg, ast.Name | ast.Constant) for arg in node.args):
            return node  # what is more than a name would be computed twice
        operands, value = _meanings()[word]
        return _Given(dict(zip(operands, node.args, strict=True))).visit(copy.deepcopy(value))


class _Given(ast.NodeTransformer):
    def __init__(self, given: Mapping[str, ast.expr]) -> None:
        self._given = given

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._given.get(node.id, node)
