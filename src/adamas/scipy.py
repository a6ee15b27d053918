"""Each rule as a ``method`` of `scipy.optimize.minimize`.

>>> from scipy.optimize import minimize, rosen, rosen_der
>>> import adamas.scipy
>>> result = minimize(rosen, [-1.2, 1.0], jac=rosen_der, method=adamas.scipy.adam, options={"lr": 0.02})
>>> result.success, result.x.round(3).tolist()
(True, [1.0, 1.0])
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning

from adamas import tail
from adamas.descent import Box, Objective, Stop, descend, start
from adamas.errors import InputError, InputTypeError
from adamas.registry import Rule, find, rules


@dataclass(frozen=True)
class Method:
    """A rule as ``scipy.optimize.minimize(…, method=…)`` takes it.

    Its ``options`` are

    - ``maxiter``, ``gtol``, ``xtol``, ``ftol``, ``patience``, ``tail``: see `adamas.descent.Stop`. ``tol`` of
      ``minimize`` is ``gtol``;
    - ``disp``: print how it ended;
    - ``finite_diff_rel_step``: h = rel_step · max(1, |x|) of finite differences, which are taken where there is no
      ``jac``;
    - whatever the optimizer takes: ``lr`` (a number or a schedule), ``betas``, ``weight_decay``, ``clip_grad_norm``, …
      ``eps`` is the rule's ε, not the step of finite differences, as in SciPy's own methods.
    """

    rule: Rule

    def __call__(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> OptimizeResult:
        """What ``minimize`` calls; see there."""
        name = self.rule.name
        if np.any(constraints):
            raise InputError(
                f"Method {name} cannot handle constraints: give bounds, put a penalty into the objective, or use "
                "method='SLSQP'."
            )
        if hess is not None or hessp is not None:
            warnings.warn(f"Method {name} does not use Hessian information.", RuntimeWarning, stacklevel=3)
        tol, disp = options.pop("tol", None), options.pop("disp", False)
        rel_step = options.pop("finite_diff_rel_step", None)
        known = {field.name for field in fields(Stop)}
        given = {option: options.pop(option) for option in list(options) if option in known}
        if tol is not None:
            given.setdefault("gtol", tol)
        hyper = {key: options.pop(key) for key in list(options) if key in self.rule.defaults or key in tail.OPTIONS}
        if options:
            text = f"Unknown solver options: {', '.join(map(str, options))}"
            warnings.warn(text, OptimizeWarning, stacklevel=3)
        stop, x = Stop(**given), start(x0)
        box = None if bounds is None else _box(x, bounds)
        args = args if isinstance(args, tuple) else (args,)
        gradient = _bound(jac, args) if callable(jac) else None
        objective = Objective(_bound(fun, args), gradient, box, rel_step)
        result = descend(self.rule, hyper, objective, x, box, stop, callback, OptimizeResult)
        if disp:
            print(
                f"{result.message}\n"
                f"         Current function value: {result.fun:f}\n"
                f"         Iterations: {result.nit}\n"
                f"         Function evaluations: {result.nfev}\n"
                f"         Gradient evaluations: {result.njev}"
            )
        return result


def _bound(function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A function of x alone."""

    def of_x(x: Any) -> Any:
        return function(x, *args)

    return of_x


def _box(x: Any, bounds: Any) -> Box:
    """Bounds as SciPy has them: an object, or a pair for each coordinate, None where there is no bound."""
    if isinstance(bounds, Bounds):
        return Box.around(x, bounds.lb, bounds.ub)
    try:
        pairs = [(low, high) for low, high in bounds]
    except (TypeError, ValueError):
        raise InputTypeError(f"The bounds are {bounds!r:.60}: give Bounds(…), or a pair for each coordinate.") from None
    if len(pairs) != x.size:
        raise InputError(f"There are {len(pairs)} bounds for {x.size} coordinates: give a pair for each.")
    low = [-np.inf if pair[0] is None else pair[0] for pair in pairs]
    high = [np.inf if pair[1] is None else pair[1] for pair in pairs]
    return Box.around(x, low, high)


def method(rule: Rule | str) -> Method:
    """A rule, the library's or your own, as a method: ``minimize(f, x0, method=method(my_rule))``.

    Args:
        rule: a rule, or the name of a registered one.
    """
    return Method(find(rule) if isinstance(rule, str) else rule)


def __getattr__(name: str) -> Method:
    """Each registered rule under its name."""
    if name not in rules():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: rules are {', '.join(rules())}")
    return method(name)


def __dir__() -> list[str]:
    return [*globals(), *rules()]
