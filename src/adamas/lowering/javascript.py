"""JavaScript: a kernel for a page that computes by itself, the host's part included.

`render` gives a text that needs nothing else:

- ``host(t, <scalar states>, <hyperparameters>)`` returns ``[coefficients, new scalars]``, as `Kernel.host` does;
- ``kernel(g, param, <states>, c)``, of one coordinate, with c rounded to the dtype, returns the new param and states;
  where it is measured, after them an object of every name that the body gives a value, with ``seen__``, the gradient
  that the rule saw, and ``root__``, what ε is added to.

JavaScript computes in float64. float32 is float64 rounded after each operation, which for + − × ÷ and √ of float32
numbers is the same to the bit. Powers are the engine's own: they may be off in the last place, and 1 − βᵗ with them.
"""

import ast
from collections.abc import Sequence
from itertools import chain

from adamas.lowering.source import Program

WORDS = """\
const sign = x => x > 0 ? 1 : x < 0 ? -1 : x;
const maximum = (a, b) => a > b || a !== a ? a : b;
const minimum = (a, b) => a < b || a !== a ? a : b;
const power = (x, y) => x < 0 ? NaN : Math.pow(x, y);
const one_minus_power = (base, exponent) =>
  0 < base && base < 2 ? -Math.expm1(exponent * Math.log(base)) : 1 - Math.pow(base, exponent);
"""
"""The words of rules that JavaScript has not itself; `functions` counts on them."""

#: What a rule may call something and JavaScript may not, or means something else by.
_TAKEN = frozenset(
    "Math NaN Infinity undefined arguments await break case catch class const continue debugger default delete do else "
    "enum eval export extends false finally for function if implements import in instanceof interface let new null "
    "package private protected public return static super switch this throw true try typeof var void while with "
    "yield".split()
)
_OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARED: dict[type, str] = dict(
    zip((ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq), ("<", "<=", ">", ">=", "===", "!=="), strict=True)
)


def render(program: Program, dtype: str = "float64", measured: bool = False) -> str:
    """The text of a script with the functions ``host`` and ``kernel``."""
    return f"// {program.rule}, {dtype}, JavaScript\n{WORDS}\n{host(program)}\n{kernel(program, dtype, measured)}"


def host(program: Program) -> str:
    """The function ``host``."""
    values = [program.saved.get(name, name) for name in program.coefficients]
    returned = f"[[{', '.join(map(_name, values))}], [{', '.join(map(_name, program.scalars))}]]"
    return _function("host", ("t", *program.scalars, *program.hyper), program.host, returned, "")


def kernel(program: Program, dtype: str = "float64", measured: bool = False) -> str:
    """The function ``kernel``."""
    body, outputs = list(program.body), ", ".join(map(_name, program.outputs))
    if measured:
        line, condition = program.watch
        if line >= 0:
            match ast.parse(condition, mode="eval").body:
                case ast.Compare(left=root):
                    body.insert(line, f"root__ = {ast.unparse(root)}")
                case _:
                    raise AssertionError(f"{condition} is no comparison")
        body.insert(program.begins, "seen__ = g")
        made = dict.fromkeys(chain.from_iterable(map(_targets, body)))
        outputs += f", {{{', '.join(f'{name}: {_name(name)}' for name in made)}}}"
    lines = [f"({', '.join(program.coefficients)},) = c__", *body] if program.coefficients else body
    return _function(
        "kernel", (*program.arrays, "c__"), lines, f"[{outputs}]", "Math.fround" if dtype == "float32" else ""
    )


def _function(name: str, arguments: Sequence[str], lines: Sequence[str], returned: str, rounding: str) -> str:
    new = [n for n in dict.fromkeys(chain.from_iterable(map(_targets, lines))) if n not in arguments]
    declared = [f"let {', '.join(map(_name, new))};"] if new else []
    text = [*declared, *(_statement(line, rounding) for line in lines), f"return {returned};"]
    return f"function {name}({', '.join(map(_name, arguments))}) {{\n" + "".join(f"  {line}\n" for line in text) + "}\n"


def _name(name: str) -> str:
    """A rule's name as JavaScript takes it; none of Python's has a $."""
    return f"{name}$" if name in _TAKEN else name


def _assignment(line: str) -> tuple[ast.expr, ast.expr]:
    (statement,) = ast.parse(line).body
    match statement:
        case ast.Assign(targets=[target], value=value):
            return target, value
        case _:
            raise AssertionError(f"{line} is no assignment")


def _targets(line: str) -> list[str]:
    target, _ = _assignment(line)
    elements = target.elts if isinstance(target, ast.Tuple) else [target]
    return [e.id for e in elements if isinstance(e, ast.Name)]


def _statement(line: str, rounding: str) -> str:
    target, value = _assignment(line)
    targets = ", ".join(map(_name, _targets(line)))
    return f"{f'[{targets}]' if isinstance(target, ast.Tuple) else targets} = {_written(value, rounding)};"


#: How tightly things are bound, so that no more brackets are written than are needed.
_CHOICE, _COMPARISON, _SUM, _PRODUCT, _ATOM = range(5)


def _written(node: ast.expr, rounding: str) -> str:
    """An expression, with what rounds to the dtype around each operation."""

    def rounded(text: str, level: int) -> tuple[str, int]:
        return (f"{rounding}({text})", _ATOM) if rounding else (text, level)

    def bound(node: ast.expr, least: int) -> str:
        text, level = write(node)
        return text if level >= least else f"({text})"

    def write(node: ast.expr) -> tuple[str, int]:
        match node:
            case ast.Constant(value=bool() as value):
                return str(value).lower(), _ATOM
            case ast.Constant(value=value):
                return repr(value).replace("inf", "Infinity"), _ATOM
            case ast.Name(id=name):
                return _name(name), _ATOM
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return f"Math.pow({bound(left, _CHOICE)}, {bound(right, _CHOICE)})", _ATOM
            case ast.BinOp(left=left, op=op, right=right):
                level = _SUM if isinstance(op, ast.Add | ast.Sub) else _PRODUCT
                return rounded(f"{bound(left, level)} {_OPERATORS[type(op)]} {bound(right, level + 1)}", level)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{bound(operand, _ATOM)})", _ATOM
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return write(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return f"{bound(left, _SUM)} {_COMPARED[type(op)]} {bound(right, _SUM)}", _COMPARISON
            case ast.IfExp(test=test, body=a, orelse=b) | ast.Call(func=ast.Name(id="where"), args=[test, a, b]):
                return f"{bound(test, _COMPARISON)} ? {bound(a, _COMPARISON)} : {bound(b, _CHOICE)}", _CHOICE
            case ast.Call(func=ast.Name(id="number"), args=[value]):
                return rounded(*write(value))
            case ast.Call(func=ast.Name(id="square"), args=[a]):
                return rounded(f"{bound(a, _PRODUCT)} * {bound(a, _ATOM)}", _PRODUCT)
            case ast.Call(func=ast.Name(id=word), args=args):
                given = ", ".join(bound(a, _CHOICE) for a in args)
                text = f"Math.{word}({given})" if word in ("sqrt", "abs") else f"{word}({given})"
                return rounded(text, _ATOM) if word in ("sqrt", "power") else (text, _ATOM)
            case _:
                raise AssertionError(f"`{ast.unparse(node)}` is not in the dialect")

    return write(node)[0]
