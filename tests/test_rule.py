"""What a rule may be: a malformed one is refused at registration, with what is wrong and how to write it."""

import textwrap

import pytest

import adamas
from adamas.errors import InputError


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Define a rule in a file of its own."""

    def define(text: str):
        path = tmp_path / "mine.py"
        path.write_text("from adamas import *\nimport adamas\n" + textwrap.dedent(text))
        import linecache

        linecache.checkcache(str(path))
        space = {"__name__": "mine"}
        exec(compile(path.read_text(), str(path), "exec"), space)
        return space

    return define


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "@rule\ndef mine(x, *, lr=1e-3):\n    return lr * x\n",
            "Rule 'mine' takes 'x' first: the first argument of a rule is the gradient, `g`.",
        ),
        (
            "@rule\ndef mine(g):\n    return g\n",
            "Rule 'mine' (mine.py, line 5) has no learning rate: write `lr=1e-3` after the '*'.",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    m = exp(m)\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) calls exp(), which is not a word of rules: Allowed are sqrt, abs, sign, "
            "maximum, minimum, where, and + - * / **.",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    m = maximun(m, g)\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) calls maximun(), which is not a word of rules: did you mean maximum()? "
            "Allowed are sqrt, abs, sign, maximum, minimum, where, and + - * / **.",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    m = beta * m + g\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) uses 'beta' before it has a value: is it a hyperparameter "
            "(then write `beta=…` after the '*' in the signature)?",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    m = m + g\n    return lr * m\n",
            "Rule 'mine' (mine.py, line 6) returns 1 values; it must return 2: the step, m.",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    if g > 0:\n        m = m + g\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) chooses by `g > 0`, but 'g' is not a hyperparameter: write a choice "
            "between coordinates or steps as where(condition, a, b).",
        ),
        (
            "@rule\ndef mine(g, m, *, t, lr=1e-3):\n    m = m if t > 1 else g\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) chooses by `t > 1`, but 't' is not a hyperparameter: write a choice "
            "between coordinates or steps as where(condition, a, b).",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    for _ in range(3):\n        m = m + g\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) holds `for _ in range(3):`: a rule is made of assignments (`name = …`), "
            "`if` on hyperparameters, and a final `return`.",
        ),
        (
            "@rule\ndef mine(g, m, *, lr=1e-3):\n    m += g\n    return lr * m, m\n",
            "Rule 'mine' (mine.py, line 5) holds `m += g`: a rule is made of assignments",
        ),
        (
            "@rule\ndef mine(g, m, *, lr):\n    return lr * g, m\n",
            "Rule 'mine' (mine.py, line 4) gives the hyperparameter 'lr' no default: write `lr=…`.",
        ),
        (
            "@rule\ndef mine(g, m, beta=0.9, *, lr=1e-3):\n    return lr * g, m\n",
            "Rule 'mine' (mine.py, line 4) gives 'beta' a default before the '*': hyperparameters go after a '*'",
        ),
        (
            "@rule\ndef mine(g, *states, lr=1e-3):\n    return lr * g\n",
            "Rule 'mine' (mine.py, line 4) takes '*states': a rule names each of its arguments.",
        ),
        (
            "@rule\ndef mine(g, param, *, lr=1e-3):\n    param = param - g\n    return lr * g\n",
            "Rule 'mine' (mine.py, line 5) assigns to 'param': return the step, the driver subtracts it.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3, weight_decay=0.1):\n    return lr * g\n",
            "Rule 'mine' (mine.py, line 5) uses 'weight_decay', which belongs to the driver: leave it out.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3, schedule=None):\n    return lr * g\n",
            "Rule 'mine' (mine.py, line 4) has the default schedule=None: a hyperparameter is a number, a bool, a word "
            "or a tuple of numbers.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3):\n    g = g\n",
            "Rule 'mine' (mine.py, line 5) can reach its end without `return`: return the step and the new states.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3, flag=False):\n    if flag:\n        return lr * g\n",
            "Rule 'mine' (mine.py, line 5) can reach its end without `return`: return the step and the new states.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3):\n    a, b = g\n    return lr * a\n",
            "Rule 'mine' (mine.py, line 5) unpacks `g` into 2 names: only a hyperparameter that is a tuple "
            "of so many numbers unpacks.",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3):\n    return lr * g[0]\n",
            "Rule 'mine' (mine.py, line 5) holds `g[0]`: rules are arithmetic",
        ),
        (
            "@rule\ndef mine(g, *, lr=1e-3):\n    return lr * maximum(g, 0, 1)\n",
            "Rule 'mine' (mine.py, line 5) gives maximum() 3 operands; it takes 2.",
        ),
        (
            "def sqrt(x):\n    return x\n\n@rule\ndef mine(g, *, lr=1e-3):\n    return lr * sqrt(g)\n",
            "Rule 'mine' (mine.py, line 8) calls sqrt(), which here is not the word of rules: "
            "write `from adamas import sqrt`.",
        ),
        (
            "@rule\ndef mine(g, *, lr=-1.0):\n    return lr * g\n",
            "Invalid learning rate: -1.0: it must be a finite number, 0 or more.",
        ),
    ],
)
def test_a_malformed_rule_is_refused(define, text, sentence):
    with pytest.raises(InputError) as caught:
        define(text)
    assert str(caught.value).startswith(sentence)
    assert "mine" not in adamas.rules()


def test_a_rule_without_source_is_refused():
    space = {}
    exec("def mine(g, *, lr=1e-3):\n    return lr * g\n", space)
    with pytest.raises(InputError, match=r"The source of rule 'mine' cannot be read"):
        adamas.rule(space["mine"])


def test_words_may_be_said_through_the_module(define):
    made = define("@adamas.rule\ndef mine(g, *, lr=1e-3):\n    return lr * adamas.sign(g)\n")["mine"]
    assert made.states() == () and adamas.rules()["mine"] is made


def test_values_returned_at_once_do_not_see_each_other(define):
    """`return step, b, a` swaps, as in Python."""
    import numpy as np

    import adamas.numpy

    define(
        """
        @rule
        def mine(g, a, b, *, t, lr=1.0):
            a = where(t > 1, a, g)
            return lr * a, b + 1, a
        """
    )
    theta = np.zeros(2)
    opt = adamas.numpy.optimizer("mine")(theta)
    opt.step(np.array([5.0, 7.0]))
    assert opt.state[0]["a"].tolist() == [1, 1] and opt.state[0]["b"].tolist() == [5, 7]
    opt.step(np.array([0.0, 0.0]))
    assert opt.state[0]["a"].tolist() == [6, 8] and opt.state[0]["b"].tolist() == [1, 1]


def test_a_rule_may_read_the_parameter_and_rebind_uniform_names(define):
    import numpy as np

    import adamas.numpy

    define(
        """
        @rule
        def mine(g, param, *, t, lr=0.5, pull=0.1):
            step = lr * g
            lr = where(t > 1, lr, 0)
            return step + lr * pull * param
        """
    )
    theta = np.array([10.0])
    opt = adamas.numpy.optimizer("mine")(theta)
    opt.step(np.array([2.0]))
    assert theta[0] == 9.0
    opt.step(np.array([2.0]))
    assert theta[0] == 9.0 - (1.0 + 0.05 * 9.0)


def test_variants_differ_in_defaults_alone():
    rules = adamas.rules()
    assert rules["adamw"].source.body is rules["adam"].source.body
    assert rules["adamw"].defaults["decoupled"] is True and rules["adam"].defaults["decoupled"] is False


def test_unknown_hyperparameters_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="Unknown hyperparameter of adam 'epz': did you mean 'eps'"):
        adamas.rules()["adam"].hyper({"epz": 1})


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        ("def mine(g, *, lr=0.5, c1=2.0):\n    x = g * (c1 * lr) + lr * 3\n    return x * c1", 1, -5.0),
        ("def mine(g, c0, *, lr=0.5):\n    return (g * (2 * lr) + c0) * lr, c0 + 1", 2, -1.5),
        ("def mine(g, i, *, lr=0.5):\n    c = g + i\n    return lr * c, i + 1", 2, -1.5),
        ("def mine(g, *, t, lr=0.5):\n    lr_before = lr * g\n    lr = lr * 2\n    return lr_before + lr", 1, -1.5),
    ],
)
def test_a_rules_names_are_its_own(define, text, steps, expected):
    import numpy as np

    import adamas.numpy

    made = define(f"@rule\n{text}\n")["mine"]
    theta = np.zeros(1)
    opt = adamas.numpy.optimizer(made)(theta)
    for _ in range(steps):
        opt.step(np.ones(1))
    assert theta[0] == expected


@pytest.mark.parametrize("name", ["number", "square", "power", "tiny", "array", "where_"])
def test_names_that_kernels_need_are_refused(define, name):
    with pytest.raises(InputError, match=f"calls something '{name}', a name that kernels need"):
        define(f"@rule\ndef mine(g, {name}, *, lr=1e-3):\n    {name} = {name} + g\n    return lr * g, {name}\n")


def test_a_rule_that_divides_by_zero_says_so(define):
    import numpy as np

    import adamas.numpy

    made = define("@rule\ndef mine(g, *, lr=1e-3):\n    return g / lr\n")["mine"]
    theta = np.ones(1)
    with pytest.raises(InputError, match=r"Rule 'mine' cannot be computed with t=1\.0, lr=0\.0"):
        adamas.numpy.optimizer(made)(theta, lr=0.0).step(np.ones(1))
    assert theta[0] == 1


def test_the_librarys_names_are_taken(define):
    with pytest.raises(InputError, match="The library has a rule 'adam' itself: give yours another name"):
        define("@rule\ndef adam(g, *, lr=1e-3):\n    return lr * g\n")
    mine = define("@rule\ndef mine(g, *, lr=1e-3):\n    return lr * g\n")["mine"]
    with pytest.raises(InputError, match="The library has a rule 'adamw' itself"):
        mine.variant("adamw", lr=0.1)
    assert adamas.rules()["adam"].states() == ("exp_avg", "exp_avg_sq")
