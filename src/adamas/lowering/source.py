"""Rule + driver + options → one straight text, split into what the host computes and what each coordinate needs.

An expression of hyperparameters and ``t`` alone is *uniform*: it becomes a coefficient, computed once per step
on the host in float64 and rounded once to the kernel's dtype. So ``1 - beta1**t`` may stand in a rule as in the
paper. What is left is arithmetic on coordinates, whose text is the same for every backend: only the frame
around it and the spelling of a few words differ.
"""

import ast
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from adamas.dialect import Source, Straight, names
from adamas.lowering.signs import nonnegative
from adamas.registry import AFTER, AVERAGE, BEFORE, CLEAR, KEEP, TAIL, Rule


@dataclass
class Program:
    """The text of one kernel.

    Attributes:
        rule: the rule's name.
        arrays: what the kernel reads: ``g``, ``param`` and the states that are alive.
        states: the states that are alive, ``ema`` among them where the weights are averaged.
        nonnegative: those that are never negative.
        outputs: what the kernel writes: ``param``, the states, and ``g`` where it is cleared.
        scalars: scalar states, which the host carries on.
        hyper: the hyperparameters that the host needs, and ``tiny``.
        lengths: those of them that are tuples -> of how many numbers.
        host: lines that compute the coefficients, in Python, float64.
        coefficients: their names, in the order in which the kernel takes them.
        saved: coefficient -> the host's name for its value, where the rule has since rebound the name itself.
        flags: those of them that are conditions.
        body: lines that compute the new values of one coordinate.
        watch: where ε outweighs what it is added to: after which line of the body, and the condition; the last place
            of the rule's that has an ε. (-1, "") where there is none.
        begins: before which line of the body the rule begins, which sees the gradient as it is then.
        step: the name of the rule's step.
    """

    rule: str
    arrays: tuple[str, ...]
    states: tuple[str, ...]
    nonnegative: frozenset[str]
    outputs: tuple[str, ...]
    scalars: tuple[str, ...]
    hyper: tuple[str, ...]
    lengths: Mapping[str, int]
    host: list[str] = field(default_factory=list[str])
    coefficients: list[str] = field(default_factory=list[str])
    saved: dict[str, str] = field(default_factory=dict[str, str])
    flags: set[str] = field(default_factory=set[str])
    body: list[str] = field(default_factory=list[str])
    watch: tuple[int, str] = (-1, "")
    begins: int = 0
    step: str = "step"

    def functional_text(self, *header: str, measured: bool = False) -> str:
        """A kernel over whole arrays that returns the new ones: (g, param, states, coefficients) → outputs.

        Where it is measured, the rule's step and the gradient that it saw come after them.
        """
        body, outputs = [*self.body], [*self.outputs]
        if measured:
            body.insert(self.begins, "seen__ = g")
            outputs += [self.step, "seen__"]
        lines = (f"{_tuple(self.coefficients)} = c__", *body, f"return {_tuple(outputs)}")
        return "\n".join(header) + "\n\n\n" + _function("kernel", (*self.arrays, "c__"), lines)

    def host_text(self) -> str:
        """The host's function: (t, scalars, hyperparameters) → (coefficients, new scalars)."""
        values = [self.saved.get(name, name) for name in self.coefficients]
        returned = f"return ({_tuple(values)}, {_tuple(self.scalars)})"
        return _function("host", ("t", *self.scalars, *self.hyper), [*self.host, returned])


def _tuple(items: Sequence[str]) -> str:
    return f"({', '.join(items)},)" if items else "()"


def _function(name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
    return f"def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in lines)


def program(rule: Rule, hyper: Mapping[str, Any]) -> Program:
    """Lower a rule under the static choices that these hyperparameters make.

    Raises:
        InputError: where the rule refuses the combination.
    """
    hyper = {**TAIL, **hyper}
    straight = rule.source.straighten(hyper)
    alive = straight.alive(rule.source.states)
    states = (*alive, "ema") if hyper["ema_decay"] else alive
    outputs = ("param", *states, "g") if hyper["zero_grad"] else ("param", *states)
    chosen = {name: hyper[name] for name in rule.source.defaults}
    build = _Builder(rule, states, outputs, nonnegative(straight, rule.source, chosen) & set(alive))
    build.call(BEFORE, hyper, {"g": "g"})
    build.rule(straight)
    build.call(AFTER, hyper, {"param": "param"}, step=build.step)
    for state in alive:
        build.call(KEEP, hyper, {"state": state}, state=state)
    build.call(AVERAGE, hyper, {"ema": "ema"})
    build.call(CLEAR, hyper, {"g": "g"})
    return build.finish()


class _Builder:
    """Takes assignments in order and puts each on the host or into the body."""

    def __init__(
        self, rule: Rule, states: tuple[str, ...], outputs: tuple[str, ...], nonnegative: frozenset[str]
    ) -> None:
        self.source = rule.source
        self.name = rule.name
        self.coordinates = {"g", "param", *states}
        self.states = states
        self.nonnegative = nonnegative
        self.outputs = outputs
        self.host: list[str] = []
        self.body: list[str] = []
        self.coefficients: dict[str, str] = {}  # text of the uniform expression -> its name
        self.order: list[str] = []
        self.saved: dict[str, str] = {}
        self.flags: set[str] = set()
        self.watch = (-1, "")
        self.begins = 0
        self.read: set[str] = set()
        self.taken = {*rule.source.names, *TAIL}
        self.step = self.fresh("step")

    def call(self, function: Source, hyper: Mapping[str, Any], returns: dict[str, str], **given: str) -> None:
        """A function of the driver, its arguments bound to names of the program by ``given``."""
        straight = function.straighten({**function.defaults, **hyper})
        rename = {k: v for k, v in given.items() if k != v}
        for targets, value in straight.assignments:
            self.assign(targets, _renamed(value, rename))
        (target,) = returns.values()
        self.assign((target,), _renamed(straight.results[0], rename), coordinate=True)

    def rule(self, straight: Straight) -> None:
        self.begins = len(self.body)
        for targets, value in straight.assignments:
            self.assign(targets, value)
        step, *handed = straight.results
        self.assign((self.step,), step, coordinate=True)
        new = dict(zip((*self.source.states, *self.source.scalars), handed, strict=True))
        changed = {s: e for s, e in new.items() if not (isinstance(e, ast.Name) and e.id == s)}
        # All are returned at once: where one new value is made of another's old one, it waits under a name.
        tangled = any(names(e) & (changed.keys() - {s}) for s, e in changed.items())
        target = {state: self.fresh(f"new_{state}") if tangled else state for state in changed}
        for state, expression in changed.items():
            self.assign((target[state],), expression, coordinate=state not in self.source.scalars)
        for state in changed:
            self.assign((state,), ast.Name(target[state], ast.Load()))

    def assign(self, targets: tuple[str, ...], value: ast.expr, coordinate: bool = False) -> None:
        if isinstance(value, ast.Name) and targets == (value.id,):
            return
        if coordinate or names(value) & self.coordinates or targets[0] in self.states:
            lowered = self.lower(value)
            for node in ast.walk(lowered):
                match node:
                    case (
                        ast.BinOp(left=root, op=ast.Add(), right=ast.Name("eps"))
                        | ast.Call(func=ast.Name("maximum"), args=[root, ast.Name("eps")])
                    ) if names(root) & self.coordinates:
                        self.watch = (len(self.body), f"{ast.unparse(root)} < eps")
                    case _:
                        pass
            self.body.append(f"{targets[0]} = {ast.unparse(lowered)}")
            self.coordinates.update(targets)
        else:
            self.read |= names(value)
            for name in set(targets) & (set(self.order) - self.saved.keys()):
                self.saved[name] = self.fresh(f"{name}_before")
                self.host.append(f"{self.saved[name]} = {name}")
            self.host.append(f"{', '.join(targets)} = {ast.unparse(_hosted(value))}")
            self.coordinates -= set(targets)
            for text in [t for t in self.coefficients if names(ast.parse(t, mode="eval").body) & set(targets)]:
                del self.coefficients[text]

    def fresh(self, name: str) -> str:
        """A name that nothing else has."""
        tried = (name if k == 1 else f"{name}_{k}" for k in count(1))
        free = next(candidate for candidate in tried if candidate not in self.taken)
        self.taken.add(free)
        return free

    def lower(self, node: ast.expr) -> ast.expr:
        """The expression for one coordinate, its uniform parts made coefficients."""
        if not names(node) & self.coordinates:
            if isinstance(node, ast.Constant):
                return _call("number", node)
            return ast.Name(self.coefficient(node), ast.Load())
        match node:
            case ast.BinOp(left=left, op=ast.Div(), right=right) if not names(right) & self.coordinates:
                reciprocal = ast.BinOp(ast.Constant(1), ast.Div(), right)
                return ast.BinOp(self.lower(left), ast.Mult(), self.lower(reciprocal))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
                return _call("square", self.lower(left))
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return _call("power", self.lower(left), self.lower(right))
            case ast.BinOp(left=left, op=op, right=right):
                return ast.BinOp(self.lower(left), op, self.lower(right))
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, self.lower(operand))
            case ast.Compare(left=left, ops=ops, comparators=[right]):
                return ast.Compare(self.lower(left), ops, [self.lower(right)])
            case ast.Call(func=ast.Name(id=word), args=args):
                return _call(word, *map(self.lower, args))
            case _:
                return node

    def coefficient(self, node: ast.expr) -> str:
        text = ast.unparse(_hosted(node))
        if text in self.coefficients:
            return self.coefficients[text]
        self.read |= names(node)
        plain = isinstance(node, ast.Name) and node.id not in self.order
        name = text if plain else self.fresh(f"c{len(self.order)}")
        if not plain:
            self.host.append(f"{name} = {text}")
        if isinstance(node, ast.Compare):
            self.flags.add(name)
        self.coefficients[text] = name
        self.order.append(name)
        return name

    def finish(self) -> Program:
        hyper = (*self.source.defaults, *TAIL, "weight_decay", "tiny")
        return Program(
            rule=self.name,
            arrays=("g", "param", *self.states),
            states=self.states,
            nonnegative=self.nonnegative,
            outputs=self.outputs,
            scalars=tuple(self.source.scalars),
            hyper=tuple(name for name in hyper if name in self.read),
            lengths={name: len(value) for name, value in self.source.defaults.items() if isinstance(value, tuple)},
            host=self.host,
            coefficients=self.order,
            saved=self.saved,
            flags=self.flags,
            body=self.body,
            watch=self.watch,
            begins=self.begins,
            step=self.step,
        )


def _call(word: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(word, ast.Load()), list(args), [])


class _Hosted(ast.NodeTransformer):
    """How uniform arithmetic is written for the host."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(ast.Constant(value=1), ast.Sub(), ast.BinOp(base, ast.Pow(), exponent)):
                return _call("one_minus_power", base, exponent)
            case _:
                return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="where"), args=[condition, a, b]):
                return ast.IfExp(condition, a, b)  # the branch not taken is not computed
            case _:
                return node


def _hosted(node: ast.expr) -> ast.expr:
    return _Hosted().visit(copy.deepcopy(node))


def _renamed(node: ast.expr, rename: Mapping[str, str]) -> ast.expr:
    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.Name:
            return ast.Name(rename.get(node.id, node.id), ast.Load())

    return Rename().visit(copy.deepcopy(node))
