"""The small language that update rules are written in: a subset of Python, read from a function's source.

A function of the dialect describes what happens to *one coordinate* of a parameter:

- positional arguments are coordinates (the gradient ``g``, the parameter ``param``, the states);
- keyword-only arguments are uniform, the same for every coordinate: hyperparameters (with a default), scalar
  states (annotated `Scalar`, the default being the value they start from) and the step count ``t`` (no default);
- the body assigns names, ends in ``return``, and may choose by ``if`` on hyperparameters alone. Such a choice is
  *static*: it is made once, when a kernel is built. A choice that differs from coordinate to coordinate, or with
  ``t``, is written ``where(condition, a, b)``.

`parse` reads and checks a function; `Source.straighten` makes the static choices and leaves a straight line of
assignments, which is what `adamas.lowering` turns into code.
"""

import ast
import copy
import inspect
import itertools
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import CodeType
from typing import Annotated, Any, NoReturn

from adamas import intrinsics
from adamas.errors import InputError
from adamas.intrinsics import WORDS

Scalar = Annotated[float, "scalar state"]
"""Annotates a scalar state: one number per parameter tensor, kept between steps beside its count."""

Value = bool | int | float | str | tuple[float, ...]


@dataclass(frozen=True)
class Straight:
    """A function of the dialect after its static choices: assignments in order, then what is returned."""

    assignments: list[tuple[tuple[str, ...], ast.expr]]
    results: list[ast.expr]

    def alive(self, states: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the states that are read or changed; one that is only handed through need not be kept."""
        step, *handed = self.results
        used = {name for targets, _ in self.assignments for name in targets}
        for expression in (step, *(value for _, value in self.assignments)):
            used |= names(expression)
        for state, result in zip(states, handed, strict=False):
            if not (isinstance(result, ast.Name) and result.id == state):
                used |= {state, *names(result)}
        return tuple(s for s in states if s in used)


def names(expression: ast.expr) -> set[str]:
    """Every name an expression mentions."""
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


@dataclass(frozen=True, eq=False)
class Source:
    """A parsed function of the dialect.

    Attributes:
        name: the function's name.
        doc: its docstring, dedented.
        coordinates: the positional arguments.
        states: those of them that are states, and so are returned.
        defaults: hyperparameter -> default, in the order of the signature.
        scalars: scalar state -> value it starts from.
        counts: whether the function takes the step count ``t``.
        tests: the static conditions, each once, in the order of the text.
    """

    name: str
    doc: str
    coordinates: tuple[str, ...]
    states: tuple[str, ...]
    defaults: Mapping[str, Value]
    scalars: Mapping[str, float]
    counts: bool
    body: tuple[ast.stmt, ...]
    tests: tuple[ast.expr, ...]
    place: str

    @property
    def uniform(self) -> set[str]:
        """Every name that is the same for all coordinates."""
        return {*self.defaults, *self.scalars, *(("t",) if self.counts else ())}

    @property
    def names(self) -> set[str]:
        """Every name that the function gives to something."""
        return {*self.coordinates, *self.uniform, *self.assigned}

    @property
    def assigned(self) -> set[str]:
        """Every name the body assigns to, in any branch."""
        nodes = (node for statement in self.body for node in ast.walk(statement))
        return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    def straighten(self, hyper: Mapping[str, Any]) -> Straight:
        """Make the static choices that these hyperparameter values ask for.

        Raises:
            InputError: where the function itself refuses the values with ``raise``.
        """
        return _straighten(self, lambda test: bool(evaluate(test, hyper)), lambda e: str(evaluate(e, hyper)))


def evaluate(expression: ast.expr, values: Mapping[str, Any]) -> Any:
    """The value of a static expression, given the hyperparameters it names."""
    return eval(_code(expression), {"__builtins__": {"abs": abs}}, dict(values))


@cache
def _code(expression: ast.expr) -> CodeType:
    return compile(ast.fix_missing_locations(ast.Expression(expression)), "<rule>", "eval")


def parse(function: Callable[..., Any], kind: str = "rule", given: Collection[str] = ("g", "param")) -> Source:
    """Read a function of the dialect and check it, branch by branch.

    Args:
        function: a function defined with ``def`` where its source can be read.
        kind: what errors call it.
        given: the coordinates that are handed in alone; the others are states, returned after the first result.

    Raises:
        InputError: what is wrong, at which line, and how to write it.
    """
    name = function.__name__
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or "?"
    except (OSError, TypeError):
        raise InputError(
            f"The source of {kind} {name!r} cannot be read, and rules are lowered from their source: "
            "define it with `def` in a file or a notebook cell."
        ) from None
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    ast.increment_lineno(tree, first - 1)
    if not isinstance(tree, ast.FunctionDef):
        raise InputError(f"A {kind} is a plain function written with `def`; {name!r} is not.")
    place = f"{kind.capitalize()} {name!r} ({file.rsplit('/', 1)[-1]}, line %d)"

    _spell_words(function, tree, place)
    body = tuple(tree.body[1:] if ast.get_docstring(tree) is not None else tree.body)
    signature = inspect.signature(function)
    coordinates, defaults, scalars, counts = _arguments(signature, tree, place)
    chosen = [n.test for s in body for n in ast.walk(s) if isinstance(n, ast.If | ast.IfExp)]
    tests = tuple({ast.unparse(test): test for test in chosen}.values())
    doc = inspect.getdoc(function) or ""
    states = tuple(c for c in coordinates if c not in given)
    source = Source(name, doc, coordinates, states, defaults, scalars, counts, body, tests, place)
    _check(source)
    return source


def _refuse(place: str, node: ast.AST, sentence: str) -> NoReturn:
    raise InputError(f"{place % getattr(node, 'lineno', 0)} {sentence}")


def _spell_words(function: Callable[..., Any], tree: ast.FunctionDef, place: str) -> None:
    """Make ``adamas.sqrt(x)`` the word ``sqrt(x)``, and refuse a word that means something else where it stands."""
    scope = inspect.getclosurevars(function)
    seen = {**scope.builtins, **scope.globals, **scope.nonlocals}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=base), attr=word)) if word in WORDS:
                meant = getattr(seen.get(base), word, None)
                spelled = f"{base}.{word}"
                node.func = ast.copy_location(ast.Name(word, ast.Load()), node.func)
            case ast.Call(func=ast.Name(id=word)) if word in WORDS and word in seen:
                meant = seen[word]
                spelled = word
            case _:
                continue
        if meant is not getattr(intrinsics, word, abs):
            _refuse(
                place,
                node,
                f"calls {spelled}(), which here is not the word of rules: write `from adamas import {word}`.",
            )


def _arguments(
    signature: inspect.Signature, tree: ast.FunctionDef, place: str
) -> tuple[tuple[str, ...], dict[str, Value], dict[str, float], bool]:
    coordinates: list[str] = []
    defaults: dict[str, Value] = {}
    scalars: dict[str, float] = {}
    counts = False
    for name, argument in signature.parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            _refuse(place, tree, f"takes '*{name}': a rule names each of its arguments.")
        if name in WORDS:
            _refuse(place, tree, f"calls an argument {name!r}, which is a word of the language: rename it.")
        if argument.kind is not argument.KEYWORD_ONLY:
            if argument.default is not argument.empty:
                _refuse(
                    place,
                    tree,
                    f"gives {name!r} a default before the '*': hyperparameters go after a '*', as in "
                    f"`def {tree.name}(g, …, *, {name}={argument.default!r})`; states have no default.",
                )
            coordinates.append(name)
        elif name == "t":
            counts = True
        elif argument.default is argument.empty:
            _refuse(place, tree, f"gives the hyperparameter {name!r} no default: write `{name}=…`.")
        elif argument.annotation is Scalar or argument.annotation == "Scalar":
            scalars[name] = float(argument.default)
        elif not _is_value(argument.default):
            _refuse(
                place,
                tree,
                f"has the default {name}={argument.default!r}: a hyperparameter is a number, a bool, a word "
                "or a tuple of numbers.",
            )
        else:
            defaults[name] = argument.default
    return tuple(coordinates), defaults, scalars, counts


def _is_value(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(v, int | float) for v in value)
    return isinstance(value, bool | int | float | str)


def _check(source: Source) -> None:
    """Walk every combination of static choices, so that no branch hides a mistake."""
    for test in source.tests:
        for node in ast.walk(test):
            if isinstance(node, ast.Name) and node.id not in source.defaults:
                _refuse(
                    source.place,
                    node,
                    f"chooses by `{ast.unparse(test)}`, but {node.id!r} is not a hyperparameter: "
                    "write a choice between coordinates or steps as where(condition, a, b).",
                )
    returned = False
    for outcomes in itertools.product((False, True), repeat=len(source.tests)):
        answer = {ast.unparse(test): yes for test, yes in zip(source.tests, outcomes, strict=True)}
        try:
            straight = _straighten(source, lambda test, a=answer: a[ast.unparse(test)], ast.unparse, True)
        except _Refused:
            continue
        returned = True
        _check_names(source, straight)
    if not returned:
        raise InputError(f"{source.place % source.body[0].lineno} never returns: end it with `return step, <states>`.")


class _Refused(Exception):
    """The function's own ``raise`` was reached while its branches are being checked."""


def _straighten(
    source: Source,
    choose: Callable[[ast.expr], bool],
    message: Callable[[ast.expr], str],
    checking: bool = False,
) -> Straight:
    assignments: list[tuple[tuple[str, ...], ast.expr]] = []

    class Choose(ast.NodeTransformer):
        def visit_IfExp(self, node: ast.IfExp) -> Any:
            return self.visit(node.body if choose(node.test) else node.orelse)

    def expression(node: ast.expr) -> ast.expr:
        return Choose().visit(copy.deepcopy(node))

    def walk(statements: Iterator[ast.stmt]) -> list[ast.expr] | None:
        for s in statements:
            match s:
                case ast.Assign(targets=targets, value=value):
                    # `a = b = x` binds from the left, each name to the same value.
                    first, *others = [_targets(source, target) for target in targets]
                    assignments.append((first, expression(value)))
                    for other in others:
                        assignments.append((other, ast.Name(first[0], ast.Load())))
                case ast.If(test=test, body=body, orelse=orelse):
                    if (results := walk(iter(body if choose(test) else orelse))) is not None:
                        return results
                case ast.Return(value=value) if value is not None:
                    returned = value.elts if isinstance(value, ast.Tuple) else [value]
                    return [expression(r) for r in returned]
                case ast.Raise(exc=ast.Call(args=[text])):
                    if checking:
                        raise _Refused
                    raise InputError(message(text))
                case ast.Pass():
                    pass
                case _:
                    _refuse(
                        source.place,
                        s,
                        f"holds `{ast.unparse(s).splitlines()[0]}`: a rule is made of assignments "
                        "(`name = …`), `if` on hyperparameters, and a final `return`.",
                    )
        return None

    results = walk(iter(source.body))
    if results is None:
        last = source.body[-1]
        _refuse(source.place, last, "can reach its end without `return`: return the step and the new states.")
    return Straight(assignments, results)


def _targets(source: Source, target: ast.expr) -> tuple[str, ...]:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    for name in names:
        if not isinstance(name, ast.Name):
            _refuse(source.place, target, f"assigns to `{ast.unparse(target)}`: assign to plain names.")
        if name.id == "param":
            _refuse(source.place, target, "assigns to 'param': return the step, the driver subtracts it.")
        if name.id in WORDS:
            _refuse(source.place, target, f"assigns to {name.id!r}, which is a word of the language: rename it.")
    return tuple(name.id for name in names if isinstance(name, ast.Name))


_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def _check_names(source: Source, straight: Straight) -> None:
    known = {*source.coordinates, *source.uniform}
    expected = ("the step", *source.states, *source.scalars)
    if len(straight.results) != len(expected):
        _refuse(
            source.place,
            straight.results[0],
            f"returns {len(straight.results)} values; it must return {len(expected)}: {', '.join(expected)}.",
        )

    def check(node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                if name not in known:
                    near = get_close_matches(name, sorted(known), n=1)
                    hint = f"did you mean {near[0]!r}, or " if near else ""
                    _refuse(
                        source.place,
                        node,
                        f"uses {name!r} before it has a value: {hint}is it a hyperparameter "
                        f"(then write `{name}=…` after the '*' in the signature)?",
                    )
            case ast.Constant(value=int() | float()):
                pass
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                check(left)
                check(right)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                check(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if not isinstance(
                op, ast.Is | ast.IsNot | ast.In | ast.NotIn
            ):
                check(left)
                check(right)
            case ast.Call(func=ast.Name(id=word), args=args, keywords=[]) if word in WORDS:
                if len(args) != WORDS[word]:
                    _refuse(source.place, node, f"gives {word}() {len(args)} operands; it takes {WORDS[word]}.")
                for arg in args:
                    check(arg)
            case ast.Call(func=func):
                near = get_close_matches(ast.unparse(func), WORDS, n=1)
                hint = f"did you mean {near[0]}()? " if near else ""
                _refuse(
                    source.place,
                    node,
                    f"calls {ast.unparse(func)}(), which is not a word of rules: {hint}"
                    f"Allowed are {', '.join(WORDS)}, and + - * / **.",
                )
            case _:
                _refuse(
                    source.place,
                    node,
                    f"holds `{ast.unparse(node)}`: rules are arithmetic (+ - * / **, comparisons, numbers) and "
                    f"the words {', '.join(WORDS)}.",
                )

    for targets, value in straight.assignments:
        unpacked = source.defaults.get(value.id) if isinstance(value, ast.Name) else None
        if len(targets) > 1 and not (isinstance(unpacked, tuple) and len(unpacked) == len(targets)):
            _refuse(
                source.place,
                value,
                f"unpacks `{ast.unparse(value)}` into {len(targets)} names: only a hyperparameter that is a "
                "tuple of so many numbers unpacks.",
            )
        check(value)
        known.update(targets)
    for result in straight.results:
        check(result)
