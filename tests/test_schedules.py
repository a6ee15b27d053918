"""Schedules: laws, values from step to step, what is refused, text and back, pictures, the command line."""

import copy
import json
import math
import pickle
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adamas
from adamas import schedules
from adamas.cli import main
from adamas.errors import InputError
from adamas.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exponential,
    from_json,
    inverse_sqrt,
    linear,
    multi_step,
    one_cycle,
    parse,
    polynomial,
    step_decay,
    warmup,
    wsd,
)
from tests.reference import schedules as textbook

# -- schedules of every kind -----------------------------------------------------------------------------------------

steps = st.integers(1, 50)
share = st.sampled_from([0.0, 1.0, 0.1, 1e-3]) | st.floats(0, 1)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "constant": {"value": share},
    "linear": {"steps": steps, "start": share, "end": share},
    "warmup": {"steps": steps, "start": st.none() | share},
    "cosine": {"steps": steps, "floor": share},
    "cosine_restarts": {
        "period": steps,
        "multiplier": st.integers(1, 5),
        "floor": share,
        "cycles": st.none() | st.integers(1, 6),
    },
    "step_decay": {"every": steps, "factor": share},
    "multi_step": {"milestones": st.sets(steps, min_size=1).map(sorted), "factor": share},
    "exponential": {"factor": share, "every": steps},
    "polynomial": {"steps": steps, "power": st.floats(0.1, 5), "floor": share},
    "one_minus_sqrt": {"steps": steps, "floor": share},
    "inverse_sqrt": {"scale": steps},
    "one_cycle": {
        "steps": steps,
        "peak_at": st.floats(0.01, 0.99),
        "start": share,
        "end": share,
        "anneal": st.sampled_from(["cosine", "linear"]),
        "momentum": st.none() | st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    },
}
leaves = st.one_of([st.fixed_dictionaries(own).map(lambda a, name=name: (name, a)) for name, own in ARGUMENTS.items()])
LEAVES = leaves.map(lambda leaf: getattr(schedules, leaf[0])(**leaf[1]))


def _then(pair: tuple[Schedule, Schedule]) -> Schedule:
    first, second = pair
    return (first if first.length < math.inf else first[:20]) >> second


def _times(pair: tuple[Schedule, Schedule]) -> Schedule:
    first, second = pair
    return first if first.moves_momentum and second.moves_momentum else first * second


def _cut(args: tuple[Schedule, int, int]) -> Schedule:
    whole, start, more = args
    return whole[start:] if start < whole.length and more % 2 else whole[start : start + more]


SCHEDULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(_then),
        st.tuples(inner, inner).map(_times),
        st.tuples(st.sampled_from([0.5, 3e-4, 2.0, 0.0]), inner).map(lambda p: p[0] * p[1]),
        st.tuples(inner, st.integers(0, 30), st.integers(1, 30)).map(_cut),
    ),
    max_leaves=5,
)
AT = st.integers(0, 300)


# -- laws ------------------------------------------------------------------------------------------------------------


def test_every_shape_is_tried() -> None:
    assert set(ARGUMENTS) | {"wsd"} == set(schedules.__all__) - {"Schedule", "from_json", "parse"}


@given(leaves)
def test_any_step_can_be_asked_for_as_if_stepped_to(leaf: tuple[str, dict[str, Any]]) -> None:
    name, arguments = leaf
    expected = list(islice(getattr(textbook, name)(**arguments), 200))
    np.testing.assert_allclose(getattr(schedules, name)(**arguments)(np.arange(200)), expected, rtol=1e-11, atol=1e-12)


@given(st.fixed_dictionaries({**ARGUMENTS["one_cycle"], "momentum": st.tuples(st.floats(0, 0.9), st.floats(0, 0.9))}))
def test_momentum_as_if_stepped_to(arguments: dict[str, Any]) -> None:
    momentum = one_cycle(**arguments).momentum
    assert momentum is not None
    told = {k: arguments[k] for k in ("steps", "peak_at", "anneal", "momentum")}
    expected = list(islice(textbook.one_cycle_momentum(**told), 80))
    np.testing.assert_allclose(momentum(np.arange(80)), expected, rtol=1e-11, atol=1e-12)


@given(SCHEDULES, st.lists(AT, min_size=1, max_size=20))
def test_arrays_have_the_bits_of_numbers(f: Schedule, at: list[int]) -> None:
    expected = [f(t) for t in at]
    assert all(type(value) is float for value in expected)
    for array in (np.array(at), np.array(at, np.float32), np.repeat(np.array(at), 3)[::3], np.array(at, np.uint16)):
        found = f(array)
        assert found.dtype == np.float64 and found.tolist() == expected
    assert f(np.array([at, at])).tolist() == [expected, expected] and f(np.array(at[0])).shape == ()
    if f.momentum is not None:
        assert f.momentum(np.array(at)).tolist() == [f.momentum(t) for t in at]


@given(SCHEDULES, AT)
def test_after_the_end_nothing_changes(f: Schedule, more: int) -> None:
    if f.length < math.inf:
        assert f(int(f.length) + more) == f(int(f.length))
        if f.momentum is not None:
            assert f.momentum(int(f.length) + more) == f.momentum(int(f.length))


@given(SCHEDULES, SCHEDULES, SCHEDULES, st.lists(AT, min_size=1))
def test_one_after_the_other(a: Schedule, b: Schedule, c: Schedule, at: list[int]) -> None:
    a, b = (f if f.length < math.inf else f[:40] for f in (a, b))
    assert (a >> b) >> c == a >> (b >> c)
    assert (a >> b).length == a.length + b.length
    together = (a >> b) >> c
    for t in at:
        expected = a(t) if t < a.length else b(t - a.length) if t < a.length + b.length else c(t - a.length - b.length)
        assert together(t) == expected


@given(SCHEDULES, SCHEDULES, st.floats(0, 10), AT)
def test_times(a: Schedule, b: Schedule, number: float, t: int) -> None:
    assert math.isclose((number * a)(t), number * a(t), rel_tol=1e-12, abs_tol=1e-300)
    assert number * a == a * number
    if not (a.moves_momentum and b.moves_momentum):
        assert math.isclose((a * b)(t), a(t) * b(t), rel_tol=1e-12, abs_tol=1e-300)
        assert (a * b).length == max(a.length, b.length)
        moving = a.momentum or b.momentum
        assert (a * b).momentum is moving is None or (a * b).momentum(t) == moving(t)


@given(SCHEDULES, st.integers(0, 40), st.integers(1, 40), AT)
def test_cut(f: Schedule, start: int, more: int, t: int) -> None:
    assert f[start : start + more](t) == f(start + min(t, more))
    assert f[start : start + more].length == more and f[:] is f
    if start < f.length:
        assert f[start:](t) == f(start + t) and f[start:].length == f.length - start
    if f.momentum is not None:
        assert f[start : start + more].momentum(t) == f.momentum(start + min(t, more))


@given(LEAVES, AT)
def test_a_factor_is_no_more_than_1(f: Schedule, t: int) -> None:
    assert 0 <= f(t) <= 1


@given(SCHEDULES)
@settings(max_examples=200)
def test_text_and_back(f: Schedule) -> None:
    evaluated = eval(repr(f), {name: getattr(schedules, name) for name in schedules.__all__})
    for again in (evaluated, parse(repr(f)), from_json(f.to_json()), pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        assert again == f and hash(again) == hash(f) and repr(again) == repr(f)
        assert again(np.arange(60)).tolist() == f(np.arange(60)).tolist()
    json.loads(f.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@given(SCHEDULES, SCHEDULES)
def test_equal_means_equal(a: Schedule, b: Schedule) -> None:
    assert (a == b) == (repr(a) == repr(b))
    assert a != 3


@given(SCHEDULES)
def test_the_view_goes_as_far_as_there_is_something(f: Schedule) -> None:
    assert f.view >= 1 and all(mark >= 0 for mark in f.marks())
    assert f.view == f.length or f.length == math.inf


# -- single facts ----------------------------------------------------------------------------------------------------


def test_the_first_step_of_a_warmup_moves() -> None:
    assert [warmup(4)(t) for t in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_restart_begins_where_it_should_however_far() -> None:
    """The logarithm of a step that begins a cycle rounds to either side."""
    for multiplier in range(1, 12):
        for period in (1, 2, 3, 7, 10, 49, 1000):
            f, begin = cosine_restarts(period, multiplier, floor=0.25), 0
            for cycle in range(12):
                assert f(begin) == 1.0, (multiplier, period, cycle)
                begin += period * multiplier**cycle
                if period * multiplier**cycle > 1:
                    assert f(begin - 1) < 1, (multiplier, period, cycle)


def test_between_two_steps_the_cycle_is_the_earlier_one() -> None:
    for multiplier in (2, 3, 10):
        f, begin = cosine_restarts(7, multiplier, floor=0.25), 0.0
        for cycle in range(12):
            begin += 7.0 * multiplier**cycle
            assert f(float(np.nextafter(begin, 0))) == 0.25, (multiplier, cycle)


def test_powers_have_the_same_bits_alone_and_in_arrays() -> None:
    """NumPy itself has not: its power of one number by 2 is the square."""
    at = np.arange(20_000)
    for f in (exponential(0.9993), step_decay(7, factor=0.997), step_decay(3), cosine(20_000), one_cycle(19_999)):
        assert f(at).tolist() == [f(t) for t in range(20_000)]
    for power in (0.5, 1, 2, 2.5, 3):
        f = polynomial(20_000, power=power)
        assert f(at).tolist() == [f(t) for t in range(20_000)]


def test_cycles_end_on_the_floor() -> None:
    f = cosine_restarts(10, 2, floor=0.1, cycles=3)
    assert f.length == 70 and f(69) > 0.1 and f(70) == f(10**9) == 0.1
    assert cosine_restarts(10, 2, cycles=10**9).length == math.inf  # 2^(10^9) is not worked out


def test_a_part_that_leaves_momentum_alone_keeps_it() -> None:
    cycle = one_cycle(10, peak_at=0.5, momentum=(0.9, 0.7))
    f = warmup(5) >> constant()[:5] >> cycle[:5] >> constant()[:3] >> cycle
    assert f.momentum is not None
    assert [f.momentum(t) for t in (0, 9, 10, 15, 17, 18, 23, 99)] == [0.9, 0.9, 0.9, 0.7, 0.7, 0.9, 0.7, 0.9]
    assert warmup(5).momentum is None


def test_vaswani() -> None:
    f, s = warmup(400) >> inverse_sqrt(400)[1:], np.arange(1, 5001)
    np.testing.assert_allclose(f(s - 1), 20 * np.minimum(s**-0.5, s * 400**-1.5), rtol=1e-14)
    np.testing.assert_allclose(inverse_sqrt()(s - 1), 1 / np.sqrt(s), rtol=1e-14)  # α/√t


def test_wsd_takes_any_decay() -> None:
    assert wsd(100, 10, 30) == warmup(10) >> constant()[:60] >> linear(30)
    assert wsd(100, 10, cosine(90, floor=0.1)) == warmup(10) >> cosine(90, floor=0.1)


def test_numbers_are_kept_as_python_has_them() -> None:
    f = np.float32(0.5) * cosine(np.int64(10), floor=np.float64(0.25))
    assert repr(f) == "0.5 * cosine(10, floor=0.25)" and cosine(1e4) == cosine(10_000)
    assert repr(2 * (3 * warmup(5)) * cosine(5)) == "6.0 * warmup(5) * cosine(5)"
    assert repr(1 * warmup(5)) == "warmup(5)" and repr((2 * (warmup(5) >> cosine(5)))[2:]) == (
        "(2.0 * (warmup(5) >> cosine(5)))[2:]"
    )


def test_a_schedule_does_not_change() -> None:
    f = warmup(5) >> cosine(5)
    for name in ("parts", "length", "anything"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(f, name, 3)
    with pytest.raises(AttributeError, match="does not change"):
        del f.parts
    with pytest.raises(TypeError):
        list(f)


def test_it_is_there_with_the_package_and_light() -> None:
    code = (
        "import sys, adamas; adamas.schedules.warmup(4)(3);"
        "print(*({'torch', 'jax', 'matplotlib', 'numba'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    with pytest.raises(AttributeError, match="no attribute 'scheduls'"):
        _ = adamas.scheduls  # type: ignore[attr-defined]


# -- what is refused -------------------------------------------------------------------------------------------------

STEP = "give a whole number, 1 or more."
FACTOR = "give a finite number, 0 or more."
SHARE = "give a share of the peak, from 0 to 1."
BAD: list[tuple[str, str]] = [
    ("warmup(0)", f"warmup: steps is 0: {STEP}"),
    ("cosine(-5)", f"cosine: steps is -5: {STEP}"),
    ("cosine(1.5)", f"cosine: steps is 1.5: {STEP}"),
    ("cosine(True)", f"cosine: steps is True: {STEP}"),
    ("cosine('x')", f"cosine: steps is 'x': {STEP}"),
    ("cosine(float('nan'))", f"cosine: steps is nan: {STEP}"),
    ("cosine(10**400)", f"cosine: steps is 1{'0' * 400}: {STEP}"),
    ("cosine(None)", f"cosine: steps is None: {STEP}"),
    ("cosine(10, floor=1.5)", f"cosine: floor is 1.5: {SHARE}"),
    ("cosine(10, floor=float('inf'))", f"cosine: floor is inf: {SHARE}"),
    ("polynomial(10, power=0)", "polynomial: power is 0: give a finite number above 0."),
    ("exponential(-0.5)", f"exponential: factor is -0.5: {FACTOR}"),
    ("step_decay(10, factor=float('nan'))", f"step_decay: factor is nan: {FACTOR}"),
    ("constant(-1)", f"constant: value is -1: {FACTOR}"),
    ("linear(10, start=-0.1)", f"linear: start is -0.1: {SHARE}"),
    ("cosine_restarts(10, multiplier=0)", f"cosine_restarts: multiplier is 0: {STEP}"),
    ("cosine_restarts(10, cycles=0)", f"cosine_restarts: cycles is 0: {STEP}"),
    ("multi_step([])", "multi_step: milestones is []: give steps in ascending order, as [3000, 6000]."),
    ("multi_step([3, 3])", "multi_step: milestones is [3, 3]: give steps in ascending order, as [3000, 6000]."),
    ("multi_step([0, 3])", f"multi_step: milestones[0] is 0: {STEP}"),
    ("multi_step(3)", "multi_step: milestones is 3: give steps in ascending order, as [3000, 6000]."),
    ("one_cycle(10, peak_at=1.0)", "one_cycle: peak_at is 1.0: give a share of the steps, above 0 and below 1."),
    ("one_cycle(10, momentum=(0.9, 1.0))", "one_cycle: momentum[1] is 1.0: give at least 0 and less than 1."),
    (
        "one_cycle(10, momentum=0.9)",
        "one_cycle: momentum is 0.9: give β₁ away from the peak and at it, as (0.95, 0.85), or None.",
    ),
    ("one_cycle(10, anneal='cos')", "one_cycle: anneal is 'cos': give 'cosine' or 'linear'."),
    (
        "wsd(1000, warmup=600, decay=500)",
        "A warm-up of 600 steps and a decay of 500 do not fit into a run of 1000: shorten them.",
    ),
    ("wsd(1000, 10, exponential(0.5))", "wsd: the decay exponential(0.5) has no end: cut it, as in [:1000]."),
    ("cosine(10, flor=0.1)", "Unknown argument of cosine 'flor': did you mean 'floor'? Known: steps, floor."),
    (
        "cosine()",
        "cosine: missing a required argument: 'steps'; the arguments are (steps: int, floor: float = 0.0) -> ",
    ),
    (
        "constant() >> cosine(10)",
        "constant() has no end, so that nothing can come after it: cut it, as in constant()[:1000] >> …",
    ),
    (
        "one_cycle(10) * one_cycle(10)",
        "Two schedules of a product move the momentum: give momentum=None to one of them.",
    ),
    ("-1 * cosine(10)", f"factor is -1: {FACTOR}"),
    ("float('inf') * cosine(10)", f"factor is inf: {FACTOR}"),
    ("1e200 * cosine(10) * 1e200", "The numbers in a product of schedules have grown out of float64: give smaller"),
    ("cosine(10)[10:]", "cosine(10) ends after 10 steps, so that nothing is left from step 10 on: begin earlier."),
    ("cosine(10)[5:5]", "cosine(10) is cut after 5 steps, so that nothing is left from step 5 on: begin earlier."),
    ("cosine(10)[-5:]", "start is -5: give a whole number, 0 or more."),
    ("cosine(10)[::2]", "A schedule is cut by [start:stop], without the step 2."),
    ("cosine(10)[3]", "A schedule is called for its value, f(3); brackets cut it, as f[:3]."),
    ("cosine(10)(-1)", "cosine(10) has no value at step -1: give a finite number, 0 or more."),
    ("cosine(10)(float('nan'))", "cosine(10) has no value at step nan: give a finite number, 0 or more."),
    ("cosine(10)(10**400)", "cosine(10) has no value at step 1000"),
    ("cosine(10)(np.array([3, -1]))", "cosine(10) has no value at step -1: give finite numbers, 0 or more."),
    ("cosine(10)(np.array([True]))", "An array of steps holds numbers, not bool."),
    ("cosine(10)('3')", "A step is a number or an array of NumPy or JAX, not str."),
    ("cosine(10)(True)", "A step is a number or an array of NumPy or JAX, not bool."),
    ("exponential(2)(10**6)", "exponential(2.0) has grown out of float64 at step 1000000: end it earlier, as with"),
    ("exponential(2)(np.array([10**6]))", "exponential(2.0) has grown out of float64 at step 1000000"),
    ("multi_step([1, 2], factor=1e200)(5)", "multi_step((1, 2), factor=1e+200) has grown out of float64 at step 5"),
]


@pytest.mark.parametrize(("code", "sentence"), BAD)
def test_bad_input_is_told(code: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        eval(code, {**{name: getattr(schedules, name) for name in schedules.__all__}, "np": np})
    assert str(caught.value).startswith(sentence), str(caught.value)


@pytest.mark.parametrize("other", [3, "cosine", None])
def test_only_schedules_go_together(other: Any) -> None:
    for operation in (lambda: cosine(5) >> other, lambda: other >> cosine(5)):
        with pytest.raises(TypeError):
            operation()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "warmup",
        "3",
        "3 * 4",
        "warmup(5) +",
        "warmup(5) + cosine(5)",
        "warmup(5) << cosine(5)",
        "warmup(5) >> 3",
        "warmup(steps)",
        "warmup(*[5])",
        "warmup(**{'steps': 5})",
        "warmup(5).length",
        "warmup(5)(3)",
        "warmup(5)[3]",
        "warmup(5)[::2]",
        "warmup(1/0)",
        "warmup(2**3)",
        "warmup(True)",
        "warmup(5, 6, 7)",
        "wsd(5)",
        "wsd(5, 6, 7, 8)",
        "exp(5)",
        "(lambda: warmup(5))()",
        "[warmup(5) for _ in 'x'][0]",
        "warmup(5) if 1 else cosine(5)",
        "open('it ran', 'w')",
        "__import__('pathlib').Path('it ran').touch()",
        "warmup(__import__('pathlib').Path('it ran').touch())",
        "warmup(5).__class__",
        "'warmup(5)'",
        "'%s' * warmup(5)",
        "-warmup(5)",
        "-'x' * warmup(5)",
        "warmup(f'{open(1)}')",
        "warmup(5)" + " >> warmup(5)" * 2000,
        "(" * 300 + "warmup(5)" + ")" * 300,
        "-" * 5000 + "1 * warmup(5)",
        "9" * 5000 + " * warmup(5)",
        "9" * 400 + " * 1.5 * warmup(5)",
        "warmup(5\x00)",
    ],
    ids=lambda text: text[:30],
)
def test_text_that_is_no_schedule(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        parse(text)
    assert not list(tmp_path.iterdir())


def test_text_is_read_as_python_would() -> None:
    assert parse(" 3e-4*warmup(1_000/2) ") == 3e-4 * warmup(500)
    assert parse("one_cycle(10 - 5, momentum=None, anneal='linear')") == one_cycle(5, momentum=None, anneal="linear")
    assert parse("(warmup(5) * multi_step([3, 4]))[1:3] >> cosine(5)") == (
        (warmup(5) * multi_step([3, 4]))[1:3] >> cosine(5)
    )
    with pytest.raises(InputError, match="Unknown schedule 'cosin': did you mean 'cosine'"):
        parse("cosin(5)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        "{}",
        '{"cosine": 5}',
        '{"cosine": {}}',
        '{"cosine": {"steps": NaN}}',
        '{"cosine": {"steps": 5}, "linear": {"steps": 5}}',
        '{"cosin": {"steps": 5}}',
        '{"__import__": {"name": "os"}}',
        '{"then": []}',
        '{"then": 3}',
        '{"then": [3]}',
        '{"then": [{"constant": {"value": 1}}, {"cosine": {"steps": 5}}]}',
        '{"product": [3]}',
        '{"product": [true, {"cosine": {"steps": 5}}]}',
        '{"part": {"of": {"cosine": {"steps": 5}}, "stop": 0}}',
        '{"part": {"stop": 5}}',
        '{"part": {"of": {"cosine": {"steps": 5}}, "stp": 5}}',
        '{"part": [1]}',
        '{"cosine": {"steps": ' + "9" * 5000 + "}}",
        "[" * 100_000,
        '{"then": [' * 30_000,
        b"\xff\xfe\xfa",
    ],
    ids=lambda text: str(text)[:40],
)
def test_json_that_is_no_schedule(text: str | bytes) -> None:
    with pytest.raises(InputError):
        from_json(text)


# -- JAX -------------------------------------------------------------------------------------------------------------


def test_traced() -> None:
    """Under jit and vmap, in int32 and float32, every shape and every way to put them together."""
    jax = pytest.importorskip("jax", reason="JAX's tracers")
    composite = 3e-4 * (warmup(50) >> (cosine(200, floor=0.1) * step_decay(30, factor=0.5))[10:150] >> inverse_sqrt(9))
    for f in (
        composite,
        warmup(7, start=0.1),
        # XLA has t·(1/n) for t/n, and 1 − t·(1/n), in one operation, may be below 0 at the end.
        *(linear(n) for n in (41, 47, 90)),
        *(polynomial(n, power=2.5) for n in (41, 90)),
        exponential(0.99),
        multi_step([3, 49, 98], factor=0.5),
        one_cycle(90),
        one_cycle(90, anneal="linear"),
        parse("one_minus_sqrt(90, floor=0.2)"),
        wsd(120, 10, 30),
        *(cosine_restarts(period, multiplier) for period in (3, 49, 10) for multiplier in (1, 2, 10)),
        cosine_restarts(10, 2, floor=0.1, cycles=3),
    ):
        at = jax.numpy.arange(300)
        found = jax.jit(jax.vmap(f))(at)
        assert found.shape == (300,) and found.dtype == jax.numpy.float32 and found.min() >= 0
        np.testing.assert_allclose(found, f(np.arange(300)), rtol=2e-5, atol=2e-6, err_msg=repr(f))
        np.testing.assert_allclose(jax.jit(f)(jax.numpy.int32(17)), f(17), rtol=2e-5, atol=2e-6)
        if f.momentum is not None:
            np.testing.assert_allclose(jax.jit(f.momentum)(at), f.momentum(np.arange(300)), rtol=2e-6)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_plot_shows_the_values() -> None:
    from matplotlib.figure import Figure

    f = warmup(10) >> one_cycle(90) >> step_decay(30)
    axes = Figure().add_subplot()
    assert f.plot(axes, steps=200) is axes
    x, y = axes.lines[0].get_data()
    assert x[0] == 0 and x[-1] == 200 and np.array_equal(y, f(x))
    assert {9, 10, 100, 129, 130} <= {*x}, "jumps are upright"
    assert [axes.get_ylabel(), axes.figure.axes[1].get_ylabel()] == ["η, or its factor", "β₁"]
    assert f.momentum is not None and np.array_equal(axes.figure.axes[1].lines[0].get_ydata(), f.momentum(x))


def test_a_plot_makes_its_own_figure() -> None:
    from matplotlib import pyplot

    axes = cosine(10).plot()
    assert axes.figure.number in pyplot.get_fignums() and axes.get_xlim() == (0, 10)
    pyplot.close(axes.figure)
    with pytest.raises(InputError, match="steps is 0"):
        cosine(10).plot(steps=0)


def test_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (warmup(5) >> cosine(50))._repr_html_()
    assert shown.startswith("<div><code>warmup(5) &gt;&gt; cosine(50)</code><br><svg") and "</svg>" in shown
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert (warmup(5) >> cosine(50))._repr_html_() == "<code>warmup(5) &gt;&gt; cosine(50)</code>"
    with pytest.raises(InputError, match=r"pip install 'adamas\[plot\]'"):
        cosine(10).plot()


# -- the command line ------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["schedule", *args])
    out, err = capsys.readouterr()
    return int(exit.value.code or 0), out, err


EXPRESSION = "1e-3 * (warmup(500) >> cosine(9_500, floor=.1))"


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, EXPRESSION)
    assert status == 0 and out.startswith(
        "0.001 * (warmup(500) >> cosine(9500, floor=0.1))\nIt ends after 10,000 steps"
    )
    for row in ("0 +2e-06", "499 +0.001", "500 +0.001", "5,250 +0.00055", "10,000 +0.0001"):
        assert re.search(rf"^ +{row} *$", out, re.M), row


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "one_cycle(100)", "--json", "--steps", "50")
    told = json.loads(out)
    assert status == 0 and told["expression"] == "one_cycle(100)" and told["length"] == 100
    f = one_cycle(100)
    assert f.momentum is not None and {30, 50} <= {row["step"] for row in told["rows"]}
    for row in told["rows"]:
        assert row == {"step": row["step"], "value": f(row["step"]), "momentum": f.momentum(row["step"])}
    assert from_json(json.dumps(told["schedule"])) == f
    assert json.loads(run(capsys, "inverse_sqrt()", "--json")[1])["length"] is None


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_a_picture_and_a_file(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(parse(EXPRESSION).to_json())
    status, out, _ = run(capsys, str(tmp_path / "f.json"), "-o", str(tmp_path / name), "--steps", "20000")
    assert status == 0 and f"Picture: {tmp_path / name}" in out and "shown are 20,000" in out
    assert (tmp_path / name).read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["cosin(5)"], "Unknown schedule 'cosin': did you mean 'cosine'"),
        (["cosine(0)"], "cosine: steps is 0: give a whole number"),
        (["cosine("], "'cosine(' is not written as a schedule ("),
        (["gone.json"], "There is no file gone.json: check the spelling"),
        (["bad.json"], "bad.json: This is no schedule in JSON, by line 1, column 2"),
        (["cosine(5)", "-o", "a.gif"], "-o a.gif is no kind of picture: name it a.png, .svg, .pdf or .html."),
        (["cosine(5)", "-o", "gone/a.png"], "There is no folder gone for the picture"),
        (["cosine(5)", "--steps", "0"], "Invalid value for '--steps'"),
        (["exponential(2)", "--steps", "5000"], "exponential(2.0) has grown out of float64"),
        ([], "Missing argument 'SCHEDULE'"),
    ],
)
def test_bad_input(
    args: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{")
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "") and err.startswith(f"adamas: {sentence}") and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bad.json"]


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_page_has_every_shape_and_every_row() -> None:
    page = (Path(__file__).parents[1] / "docs" / "schedules.md").read_text()
    told = re.findall(r"^\| `(\w+)\((.*?)\)` \|", page, re.M)
    assert {name for name, _ in told} == set(schedules.__all__) - {"Schedule", "from_json", "parse"}
    for name, arguments in told:
        call = re.sub(r"\b(steps|period|every|power|factor|warmup|decay)(?=,|$)", "7", arguments)
        call = call.replace("milestones", "[3]").replace("start=s", "start=0.5").replace("7, 7, 7", "70, 7, 7")
        bare = re.sub(r", (\w+)=[^(,]*(\([^)]*\))?", "", call) if name not in ("warmup", "constant") else call
        assert parse(f"{name}({call})") == parse(f"{name}({bare})"), "the defaults are those of the page"
    from tests.peers.schedules import rows

    compared = re.findall(r"^\| (\w+) \| `(.*?)` \| `(.*?)` \| \d", page, re.M)
    assert compared == [(row.peer, row.theirs, repr(row.ours)) for row in rows()]
