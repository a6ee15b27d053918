"""Functions of two variables: what text and code may say, slopes, and the same numbers in a browser."""

import json
import math

import numpy as np
import pytest

from adamas.errors import InputError
from adamas.expressions import DEEPEST, Function, parse, traced
from adamas.problems.surfaces import SURFACES
from tests.pages.browser import evaluate

TEXTS = [
    "x**2 + 10*y**2",
    "(1 - x)**2 + 100*(y - x**2)**2",
    "sin(x)*cos(2*y) - tan(x/4)/(2 + tanh(y))",
    "exp(-x**2/2)*log(3 + y**2) + e*x - pi/(2 + y)**2",
    "abs(x - 1) + sign(y)*x + sqrt(1 + x**2 + y**2)",
    "max(x, y**2) + minimum(x*y, 1)",
    "where(x < y, x**3, 1/(1 + y**2)) + where(x*y >= 0, 2*y, -y)",
    "abs(x)**2.5 + 2**y + (x**2 + 1)**y + (3 + x*x)**-3 + x**-2",
    "-(-x) - +y + x - 0 + 0*y + 1*x*1 + x/1 + y**1 + y**0 + (-1)*x + 2*(3*y)",
    "x*t - y*sin(t/10)",
]
NUMPY = {**vars(np), "max": np.maximum}


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.4, 1.4, (2, 50))


@pytest.mark.parametrize("text", TEXTS)
def test_text_means_what_python_means_by_it(text, points):
    x, y = points
    expected = eval(text, {**NUMPY, "x": x, "y": y, "t": 7})
    np.testing.assert_allclose(Function(parse(text))(x, y, 7), expected, rtol=1e-14)
    again = parse(repr(parse(text)))
    np.testing.assert_array_equal(Function(again)(x, y, 7), Function(parse(text))(x, y, 7))


@pytest.mark.parametrize("text", TEXTS)
def test_slopes_are_those_of_differences(text, points):
    f, (x, y), h = Function(parse(text)), points, 1e-6
    dx, dy = f.gradient(x, y, 7)
    np.testing.assert_allclose(dx, (f(x + h, y, 7) - f(x - h, y, 7)) / (2 * h), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dy, (f(x, y + h, 7) - f(x, y - h, 7)) / (2 * h), rtol=1e-6, atol=1e-6)


def test_kinks_and_tips_have_a_slope():
    assert Function(parse("abs(x) + sqrt(x**2 + y**2)")).gradient(0.0, 0.0) == (0, 0)
    with np.errstate(divide="ignore"):
        assert Function(parse("sqrt(x) + y")).gradient(0.0, 0.0)[0] == math.inf
    assert Function(parse("max(x, y)")).gradient(1.0, 1.0) == (0, 1)


def test_numbers_run_over_instead_of_raising():
    with np.errstate(all="ignore"):
        f = Function(parse("exp(x)**9/y"))
        assert f(1000.0, 1.0) == math.inf and math.isnan(f(0.0, 0.0) * 0)


BROWSER = """
([text, points, t]) => {
  const f = new Function(text + "; return f")();
  return JSON.stringify(JSON.parse(points).map(([x, y]) => f(x, y, t)));
}
"""


@pytest.mark.parametrize("what", [*TEXTS, *SURFACES])
def test_a_browser_computes_the_same(what, points):
    f = SURFACES[what].function if what in SURFACES else Function(parse(what))
    x, y = points
    told = json.loads(evaluate(BROWSER, [f.javascript("f"), json.dumps(points.T.tolist()), 7]))
    expected = np.broadcast_arrays(f(x, y, 7), *f.gradient(x, y, 7))
    scale = 1 + np.abs(expected)
    assert np.max(np.abs(np.array(told).T - expected) / scale) < 1e-14


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x^2", r"The function 'x\^2' has a \^ in it: write powers with \*\*, as in x\*\*2."),
        ("2x", r"The function '2x' cannot be read \(invalid decimal literal\): write it as in 'x\*\*2 \+ 10\*y\*\*2'."),
        ("", "cannot be read"),
        ("__import__('os').system('true')", r"has `__import__\('os'\).system\('true'\)` in it: it is made of x, y, t"),
        ("exec('x')", "Unknown word in the function .*: 'exec'"),
        ("x.real", "has `x.real` in it"),
        ("[x for x in y]", "has `.x for x in y.` in it"),
        ("x if x > 0 else y", "has `x if x > 0 else y` in it"),
        ("(lambda: x)()", "in it: it is made of"),
        ("True*x", "has `True` in it"),
        ("'a'*x", "has `'a'` in it"),
        ("sinn(x)", "Unknown word .*: did you mean 'sin'"),
        ("z + x", "Unknown name in the function 'z \\+ x': 'z'"),
        ("sin(x, y)", r"gives sin\(\) 2 operands: it takes 1"),
        ("3 + t", "has neither x nor y in it"),
        ("x > 0", r"is a condition, not a number: write where\(x > 0, 1, 0\)"),
        ("where(x, 1, y)", r"`x` stands where a condition must stand, as in where\(x > 0, a, b\)"),
        ("(x > 0)*y", "`x > 0` stands where a number must"),
        ("9" * 400 + "*x", "beyond 1e300"),
        ("1e400*x", "beyond 1e300"),
        ("x" + "+x" * 150, f"nests 151 operations: at most {DEEPEST}"),
        ("sin(" * 150 + "x" + ")" * 150, f"nests 151 operations: at most {DEEPEST}"),
        ("(" * 300 + "x" + ")" * 300, "cannot be read"),
        ("x + " * 600 + "x", "has 2401 characters"),
        ("x\0", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(text, sentence):
    with pytest.raises(InputError, match=sentence):
        parse(text)


def test_a_tower_of_powers_costs_nothing():
    assert repr(parse("10**10**10**10*x")) == "1e309 * x"


def test_python_code_is_followed(points):
    def waves(x, y):
        total = 0.5 * np.square(x)
        for k in range(1, 4):
            total += np.sin(k * x) / np.float64(k) + np.where(np.less(y, 0), -y, abs(y) ** k)
        return np.maximum(total, np.negative(x))

    x, y = points
    np.testing.assert_allclose(Function(traced(waves, "waves"))(x, y), waves(x, y), rtol=1e-14)
    assert Function(traced(lambda x, y, t: x * t, "moving")).moves


def _branch(x, y):
    return x if x > 0 else y


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (_branch, r"f: A function of x and y cannot branch on `x > 0`, .*: write numpy.where\(condition, a, b\)"),
        (lambda x, y: math.sin(x), "f: .* cannot make a number of `x`, .*: use numpy's functions instead of math's"),
        (lambda x, y: np.arctan(x), "f: A function of x and y cannot use numpy.arctan here"),
        (lambda x, y: np.add.reduce(x), "cannot use numpy.add here"),
        (lambda x, y: np.linalg.norm(x), "f: "),
        (lambda x, y: "word", "f: A function of x and y cannot compute with 'word'"),
        (lambda x, y: None, "f: A function of x and y cannot compute with None"),
        (lambda x, y: 3.0, "f has neither x nor y in it"),
        (lambda x: x, "f takes 1 arguments"),
    ],
)
def test_code_that_cannot_be_followed_is_said_in_a_sentence(function, sentence):
    with pytest.raises(InputError, match=sentence):
        traced(function, "f")
