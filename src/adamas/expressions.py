"""Functions of two variables: read from text or Python code, differentiated, computed by NumPy, written as JavaScript.

An `Expression` is a tree of numbers, the variables ``x``, ``y`` and ``t`` (the step), and the words below. Text is
parsed and never run; a Python function is called once, with variables for arguments, and what it does to them is kept.
Values and slopes are then computed by going through a list of operations in which nothing is done twice.

>>> f = parse("x**2 + 10*y**2")
>>> f.derivative("y")
20 * y
>>> float(Function(f)(3.0, 1.0)), *map(float, Function(f).gradient(3.0, 1.0))
(19.0, 6.0, 20.0)
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from adamas.errors import InputError, unknown

VARIABLES = ("x", "y", "t")
CONSTANTS = {"pi": math.pi, "e": math.e}
LONGEST, DEEPEST = 2000, 100
"""Characters that a function may have as text; operations that may be nested."""


def _ratio(a: Any, b: Any) -> Any:
    """a/b, and 0 for 0/0: the slope at the tip of a cone, where there is none."""
    return np.where((a == 0) & (b == 0), 0.0, a / np.where(b == 0, np.where(a == 0, 1.0, b), b))


#: word -> what computes it over NumPy's numbers and arrays, and how JavaScript writes it.
_WORDS: dict[str, tuple[Callable[..., Any], str]] = {
    # operators, which are ten times as quick over two numbers as NumPy's functions
    "+": (operator.add, "({} + {})"),
    "-": (operator.sub, "({} - {})"),
    "*": (operator.mul, "({} * {})"),
    "/": (operator.truediv, "({} / {})"),
    "**": (operator.pow, "Math.pow({}, {})"),
    "negative": (operator.neg, "(-{})"),
    "<": (operator.lt, "({} < {})"),
    "<=": (operator.le, "({} <= {})"),
    ">": (operator.gt, "({} > {})"),
    ">=": (operator.ge, "({} >= {})"),
    "sqrt": (np.sqrt, "Math.sqrt({})"),
    "exp": (np.exp, "Math.exp({})"),
    "log": (np.log, "Math.log({})"),
    "sin": (np.sin, "Math.sin({})"),
    "cos": (np.cos, "Math.cos({})"),
    "tan": (np.tan, "Math.tan({})"),
    "tanh": (np.tanh, "Math.tanh({})"),
    "abs": (operator.abs, "Math.abs({})"),
    "sign": (np.sign, "Math.sign({})"),
    "maximum": (np.maximum, "({0} > {1} || {0} !== {0} ? {0} : {1})"),
    "minimum": (np.minimum, "({0} < {1} || {0} !== {0} ? {0} : {1})"),
    "where": (np.where, "({} ? {} : {})"),
    "ratio": (_ratio, "({0} === 0 && {1} === 0 ? 0 : {0} / {1})"),  # in derivatives alone
}

#: Those that are called by name -> number of operands.
_CALLED: dict[str, int] = {
    **dict.fromkeys(("sqrt", "exp", "log", "sin", "cos", "tan", "tanh", "abs", "sign"), 1),
    **{"maximum": 2, "minimum": 2, "where": 3},
}
_CONDITIONS = ("<", "<=", ">", ">=")
_OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARED: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}

#: NumPy's functions -> the words that mean the same.
_UFUNCS: dict[Any, str] = {
    **{getattr(np, name): name for name in _CALLED if name not in ("abs", "where")},
    **{np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", np.power: "**", np.float_power: "**"},
    **{np.less: "<", np.less_equal: "<=", np.greater: ">", np.greater_equal: ">="},
    **{np.negative: "negative", np.absolute: "abs", np.fabs: "abs", np.square: "square", np.positive: "positive"},
}


class Expression:
    """A number, a variable, or a word and its operands. It never changes; equal ones need not be the same object."""

    __slots__ = ("depth", "operands", "word")

    def __init__(self, word: str, *operands: "Expression | float") -> None:
        """
        Args:
            word: of those above, a variable, or "number".
            *operands: expressions; of a number, its value.
        """
        self.word, self.operands = word, operands
        self.depth: int = 1 + max((o.depth for o in operands if isinstance(o, Expression)), default=0)

    # -- arithmetic makes expressions ------------------------------------------------------------------------------

    def __add__(self, other: Any) -> "Expression":
        return _made("+", self, other)

    def __radd__(self, other: Any) -> "Expression":
        return _made("+", other, self)

    def __sub__(self, other: Any) -> "Expression":
        return _made("-", self, other)

    def __rsub__(self, other: Any) -> "Expression":
        return _made("-", other, self)

    def __mul__(self, other: Any) -> "Expression":
        return _made("*", self, other)

    def __rmul__(self, other: Any) -> "Expression":
        return _made("*", other, self)

    def __truediv__(self, other: Any) -> "Expression":
        return _made("/", self, other)

    def __rtruediv__(self, other: Any) -> "Expression":
        return _made("/", other, self)

    def __pow__(self, other: Any) -> "Expression":
        return _made("**", self, other)

    def __rpow__(self, other: Any) -> "Expression":
        return _made("**", other, self)

    def __lt__(self, other: Any) -> "Expression":
        return _made("<", self, other)

    def __le__(self, other: Any) -> "Expression":
        return _made("<=", self, other)

    def __gt__(self, other: Any) -> "Expression":
        return _made(">", self, other)

    def __ge__(self, other: Any) -> "Expression":
        return _made(">=", self, other)

    def __neg__(self) -> "Expression":
        return _made("negative", self)

    def __pos__(self) -> "Expression":
        return self

    def __abs__(self) -> "Expression":
        return _made("abs", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> "Expression":
        name = _UFUNCS.get(ufunc)
        if method != "__call__" or options or name is None:
            raise InputError(f"A function of x and y cannot use numpy.{ufunc.__name__} here: {_ALLOWED}.")
        if name in ("square", "positive"):
            (operand,) = operands
            return operand**2 if name == "square" else operand
        return _made(name, *operands)

    def __array_function__(self, function: Any, types: Any, operands: Any, options: Any) -> "Expression":
        if function is not np.where or options or len(operands) != 3:
            raise InputError(f"A function of x and y cannot use numpy.{function.__name__} here: {_ALLOWED}.")
        return _made("where", *operands)

    def __bool__(self) -> bool:
        raise InputError(
            f"A function of x and y cannot branch on `{self}`, which has no value yet: "
            "write numpy.where(condition, a, b)."
        )

    def __float__(self) -> float:
        raise InputError(
            f"A function of x and y cannot make a number of `{self}`, which has no value yet: "
            "use numpy's functions instead of math's."
        )

    __index__ = __int__ = __float__  # pyright: ignore[reportAssignmentType]

    # -- what can be asked -----------------------------------------------------------------------------------------

    @property
    def variables(self) -> set[str]:
        """The variables that it mentions."""
        if self.word in VARIABLES:
            return {self.word}
        return set[str]().union(*(o.variables for o in _operands(self)))

    def derivative(self, by: str) -> "Expression":
        """The derivative by a variable. At a kink or a tip, where there is none, it is a slope from beside it, or 0."""
        return _derivative(self, by, {})

    def substitute(self, given: Mapping[str, "Expression"]) -> "Expression":
        """The same with expressions in the place of variables."""
        if self.word in VARIABLES:
            return given.get(self.word, self)
        if self.word == "number":
            return self
        return _made(self.word, *[o.substitute(given) for o in _operands(self)])

    def __repr__(self) -> str:
        return ast.unparse(ast.fix_missing_locations(_tree(self)))


def _is_number(e: Expression, value: float | None = None) -> bool:
    return e.word == "number" and (value is None or e.operands[0] == value)


def _number(value: float) -> Expression:
    return Expression("number", float(value))


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    try:
        return _number(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"A function of x and y cannot compute with {value!r}: {_ALLOWED}.") from None


def _made(word: str, *given: Any) -> Expression:
    """The expression, with arithmetic on numbers done, and what changes nothing left out."""
    operands = [_expression(o) for o in given]
    for k, operand in enumerate(operands):
        if (operand.word in _CONDITIONS) != (word == "where" and k == 0):
            wanted = (
                "a condition must stand, as in where(x > 0, a, b)" if word == "where" and k == 0 else "a number must"
            )
            raise InputError(f"`{operand}` stands where {wanted}.")
    if word not in _CONDITIONS and word != "where" and all(_is_number(o) for o in operands):
        with np.errstate(all="ignore"):
            return _number(_WORDS[word][0](*[np.float64(o.operands[0]) for o in operands]))
    if word in ("+", "*") and _is_number(operands[1]):
        operands.reverse()  # numbers first
    match word, operands:
        case ("+", [zero, a]) if _is_number(zero, 0):
            return a
        case "-", [a, zero] if _is_number(zero, 0):
            return a
        case "-", [zero, a] if _is_number(zero, 0):
            return _made("negative", a)
        case "*", [one, a] if _is_number(one, 1):
            return a
        case "/" | "**", [a, one] if _is_number(one, 1):
            return a
        case "*", [minus, a] if _is_number(minus, -1):
            return _made("negative", a)
        case "*" | "/" | "ratio", [zero, _] if _is_number(zero, 0):
            return _number(0)
        case "**", [_, zero] if _is_number(zero, 0):
            return _number(1)
        case "*", [a, Expression(word="*") as b] if _is_number(a) and _is_number(_operand(b)):
            return _made("*", _made("*", a, _operand(b)), _operands(b)[1])
        case "negative", [Expression(word="negative") as a]:
            return _operand(a)
        case "where", [_, a, b] if a.word == b.word == "number" and a.operands == b.operands:
            return a
        case _:
            return Expression(word, *operands)


def _operands(e: Expression) -> list[Expression]:
    return [o for o in e.operands if isinstance(o, Expression)]


def _operand(e: Expression) -> Expression:
    return _operands(e)[0]


def where(condition: Any, a: Any, b: Any) -> Expression:
    return _made("where", condition, a, b)


def _derivative(e: Expression, by: str, known: dict[int, Expression]) -> Expression:
    if id(e) in known:
        return known[id(e)]
    if e.word == "number" or e.word in VARIABLES:
        return _number(1.0 if e.word == by else 0.0)
    operands = _operands(e)
    if e.word == "where":
        condition, a, b = operands
        found = where(condition, _derivative(a, by, known), _derivative(b, by, known))
    else:
        inner = [_derivative(o, by, known) for o in operands]
        if e.word == "sqrt":
            found = _made("ratio", inner[0], 2 * e)
        else:
            slopes = _slopes(e, *operands)
            found = _number(0)
            for slope, du in zip(slopes, inner, strict=True):
                found = found + slope * du
    known[id(e)] = found
    return found


def _slopes(e: Expression, *operands: Expression) -> tuple[Any, ...]:
    """The derivative of an expression by each of its operands."""
    match e.word, operands:
        case "+", _:
            return 1, 1
        case "-", _:
            return 1, -1
        case "*", (a, b):
            return b, a
        case "/", (a, b):
            return 1 / b, -a / b**2
        case "**", (a, b):
            return b * a ** (b - 1), 0 if _is_number(b) else e * _made("log", a)
        case "negative", _:
            return (-1,)
        case "exp", _:
            return (e,)
        case "log", (a,):
            return (1 / a,)
        case "sin", (a,):
            return (_made("cos", a),)
        case "cos", (a,):
            return (-_made("sin", a),)
        case "tan", _:
            return (1 + e**2,)
        case "tanh", _:
            return (1 - e**2,)
        case "abs", (a,):
            return (_made("sign", a),)
        case "sign", _:
            return (0,)
        case ("maximum" | "minimum") as word, (a, b):
            first = a > b if word == "maximum" else a < b
            return where(first, 1, 0), where(first, 0, 1)
        case _:
            raise AssertionError(f"{e.word} is not differentiated")


# -- from text and from code -------------------------------------------------------------------------------------------

_ALLOWED = f"it is made of x, y, t, numbers, + - * / ** and {', '.join(_CALLED)}"


def parse(text: str) -> Expression:
    """The expression that a text says.

    >>> parse("abs(x) + maximum(y, 0)**2")
    abs(x) + maximum(y, 0) ** 2

    Raises:
        InputError: with what cannot be, and what can.
    """
    shown = text if len(text) <= 60 else f"{text[:57]}…"
    if len(text) > LONGEST:
        raise InputError(f"The function {shown!r} has {len(text)} characters: at most {LONGEST} are read.")
    try:
        read = _read(ast.parse(text.strip(), mode="eval").body, shown)
    except SyntaxError as error:
        raise InputError(
            f"The function {shown!r} cannot be read ({error.msg}): write it as in 'x**2 + 10*y**2'."
        ) from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The function {shown!r} cannot be read: it is too deep, or not text.") from None
    return _complete(read, f"The function {shown!r}")


def traced(function: Callable[..., Any], name: str) -> Expression:
    """The expression that a Python function of x and y, or of x, y and t, computes.

    It is called once, with variables in place of numbers: so it may loop, call others and use NumPy's functions, but
    not branch on a value.

    >>> traced(lambda x, y: sum(np.cos(k * x) * y for k in range(1, 3)), "waves")
    cos(x) * y + cos(2 * x) * y

    Raises:
        InputError: with what it does that cannot be followed.
    """
    variables = [Expression(v) for v in VARIABLES]
    taken = getattr(getattr(function, "__code__", None), "co_argcount", 2)
    if taken not in (2, 3):
        raise InputError(f"{name} takes {taken} arguments: a function to be drawn takes x and y, or x, y and t.")
    try:
        with np.errstate(all="ignore"):
            result = _expression(function(*variables[:taken]))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return _complete(result, name)


def _complete(e: Expression, what: str) -> Expression:
    if e.word in _CONDITIONS:
        raise InputError(f"{what} is a condition, not a number: write where({e}, 1, 0).")
    if e.depth > DEEPEST:
        raise InputError(
            f"{what} nests {e.depth} operations: at most {DEEPEST} are followed; bracket long sums in halves."
        )
    if not e.variables & {"x", "y"}:
        raise InputError(f"{what} has neither x nor y in it: {_ALLOWED}.")
    return e


def _read(node: ast.expr, shown: str) -> Expression:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if abs(value) > 1e300:
                raise InputError(f"The function {shown!r} has a number beyond 1e300 in it, which float64 cannot hold.")
            return _number(value)
        case ast.Name(id=name) if name in VARIABLES:
            return Expression(name)
        case ast.Name(id=name) if name in CONSTANTS:
            return _number(CONSTANTS[name])
        case ast.Name(id=name):
            raise unknown(f"name in the function {shown!r}:", name, [*VARIABLES, *CONSTANTS, *_CALLED])
        case ast.BinOp(op=ast.BitXor()):
            raise InputError(f"The function {shown!r} has a ^ in it: write powers with **, as in x**2.")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _made(_OPERATORS[type(op)], _read(left, shown), _read(right, shown))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand, shown)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _read(operand, shown)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
            return _made(_COMPARED[type(op)], _read(left, shown), _read(right, shown))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            name = {"max": "maximum", "min": "minimum"}.get(name, name)
            if name not in _CALLED:
                raise unknown(f"word in the function {shown!r}:", name, _CALLED)
            if len(args) != _CALLED[name]:
                raise InputError(
                    f"The function {shown!r} gives {name}() {len(args)} operands: it takes {_CALLED[name]}."
                )
            return _made(name, *(_read(a, shown) for a in args))
        case _:
            raise InputError(f"The function {shown!r} has `{ast.unparse(node)}` in it: {_ALLOWED}.")


def _tree(e: Expression) -> ast.expr:
    """As Python writes it."""
    operands = [_tree(o) for o in _operands(e)]
    for table, kind in ((_OPERATORS, "binary"), (_COMPARED, "compare")):
        for node, word in table.items():
            if word == e.word:
                a, b = operands
                return ast.BinOp(a, node(), b) if kind == "binary" else ast.Compare(a, [node()], [b])
    if e.word == "number":
        value: Any = e.operands[0]
        whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
        return ast.Constant(int(value) if whole else value)
    if e.word in VARIABLES:
        return ast.Name(e.word, ast.Load())
    if e.word == "negative":
        return ast.UnaryOp(ast.USub(), operands[0])
    return ast.Call(ast.Name(e.word, ast.Load()), operands, [])


# -- computing ---------------------------------------------------------------------------------------------------------


class Function:
    """A function of x, y and t that can be computed, with its slopes; broadcasts.

    Attributes:
        expression: what it computes.
    """

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def __call__(self, x: Any, y: Any, t: float = 0.0) -> Any:
        """The value."""
        return self._value.run(x, y, t)[0]

    def gradient(self, x: Any, y: Any, t: float = 0.0) -> tuple[Any, Any]:
        """The derivatives by x and by y."""
        dx, dy = self._slopes.run(x, y, t)
        return dx, dy

    @property
    def moves(self) -> bool:
        """Whether it changes with the step."""
        return "t" in self.expression.variables

    def javascript(self, name: str) -> str:
        """A function (x, y, t) → [value, derivative by x, derivative by y], in float64 as here."""
        steps = _Steps(self.expression, *self._derivatives)
        lines = [f"  const {steps.name(place)} = {steps.javascript(place)};" for place in steps.computed()]
        returned = ", ".join(map(steps.name, steps.results))
        return "\n".join([f"function {name}(x, y, t) {{", *lines, f"  return [{returned}];", "}\n"])

    @cached_property
    def _derivatives(self) -> tuple[Expression, Expression]:
        return self.expression.derivative("x"), self.expression.derivative("y")

    @cached_property
    def _value(self) -> "_Steps":
        return _Steps(self.expression)

    @cached_property
    def _slopes(self) -> "_Steps":
        return _Steps(*self._derivatives)

    def __repr__(self) -> str:
        return repr(self.expression)


class _Steps:
    """Operations in order, each once. Operands are places: x, y and t, then numbers and results as they come."""

    def __init__(self, *results: Expression) -> None:
        self._at: dict[Any, int] = {name: place for place, name in enumerate(VARIABLES)}
        self._seen: dict[int, int] = {}
        self._entries: list[tuple[str, tuple[Any, ...]]] = [(name, ()) for name in VARIABLES]
        self._kept = results  # while they live, nothing else has their id
        self.results = tuple(map(self._place, results))
        self._program: list[tuple[Any, Any]] = [
            (None, np.float64(operands[0])) if word == "number" else (_WORDS[word][0], operands)
            for word, operands in self._entries[len(VARIABLES) :]
        ]

    def run(self, x: Any, y: Any, t: Any) -> list[Any]:
        """The results for some x, y and t."""
        # numbers as NumPy's: where Python's raise an exception, these hand on an infinity or a NaN
        at: list[Any] = [np.float64(v) if isinstance(v, float | int) else v for v in (x, y, t)]
        for compute, operands in self._program:
            at.append(operands if compute is None else compute(*[at[place] for place in operands]))
        return [at[place] for place in self.results]

    def computed(self) -> list[int]:
        """The places of what is neither a variable nor a number."""
        return [place for place, (word, _) in enumerate(self._entries) if word in _WORDS]

    def name(self, place: int) -> str:
        """How JavaScript calls what is in a place."""
        word, operands = self._entries[place]
        if word == "number":
            return f"({operands[0]!r})".replace("inf", "Infinity").replace("nan", "NaN")
        return word if word in VARIABLES else f"v{place}"

    def javascript(self, place: int) -> str:
        """How JavaScript computes it."""
        word, operands = self._entries[place]
        return _WORDS[word][1].format(*map(self.name, operands))

    def _place(self, e: Expression) -> int:
        if id(e) not in self._seen:
            if e.word in VARIABLES:
                place = self._at[e.word]
            elif e.word == "number":
                place = self._add("number", *e.operands)
            elif e.word == "**" and (n := _whole(e.operands[1])):
                place = self._power(self._place(_operand(e)), n)
            else:
                place = self._add(e.word, *map(self._place, _operands(e)))
            self._seen[id(e)] = place
        return self._seen[id(e)]

    def _power(self, base: int, n: int) -> int:
        """By multiplications: the same bits wherever it is computed, and quicker than a power."""
        if n < 0:
            return self._add("/", self._add("number", 1.0), self._power(base, -n))
        if n == 1:
            return base
        half = self._power(base, n // 2)
        square = self._add("*", half, half)
        return self._add("*", square, base) if n % 2 else square

    def _add(self, word: str, *operands: Any) -> int:
        entry = (word, operands)
        if entry not in self._at:
            self._at[entry] = len(self._entries)
            self._entries.append(entry)
        return self._at[entry]


def _whole(exponent: Any) -> int:
    """A whole exponent whose power is worth multiplying out, else 0."""
    value = exponent.operands[0] if _is_number(exponent) else 0.0
    return int(value) if 1 <= abs(value) <= 16 and value == int(value) else 0
