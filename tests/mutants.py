"""Plant bugs, one at a time, and see whether the tests catch each: ``make mutants``.

A mutant is a change of one text in one file of a copy of the sources. It is caught if tests fail, or bring the process
down on their way, not if they cannot be run: a change that breaks the import proves nothing. Before the first mutant
the tests must pass unharmed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Tried in turn: what is quick and catches most, then all the rest.
TESTS = [
    ["tests/test_rule.py", "tests/fronts/test_numpy.py"],
    ["tests/test_expressions.py", "tests/pictures"],
    ["tests/conformance/test_trajectories.py", "-k", "textbook and numba and float64"],
    ["tests/fronts/test_tail.py", "tests/fronts/test_sparse.py"],
    ["tests/fronts/test_torch.py", "tests/test_kernel.py"],
    ["tests/fronts/test_scaling.py", "tests/fronts/test_stopping.py"],
    ["tests/fronts/test_scipy.py", "tests/fronts/test_sklearn.py"],
    ["tests/fronts/test_optax.py"],
    ["tests/doctor"],
    ["tests/conformance"],
    ["tests/peers"],
    ["tests/faults"],
    ["tests/torture"],
    ["tests/test_gpu.py"],
]


@dataclass(frozen=True)
class Mutant:
    """A bug: in ``file``, ``old`` becomes ``new``."""

    bug: str
    file: str
    old: str
    new: str


ADAM, DRIVER, OPTIMIZER = "rules/adam.py", "driver.py", "optimizer.py"
TORCH, TENSORS = "torch/optimizer.py", "torch/arrays.py"
SOURCE, NUMBA, WORDS, ENGINE = "lowering/source.py", "lowering/numba.py", "lowering/words.py", "engine.py"
EXPRESSIONS, SCRIPT, PAGE = "expressions.py", "lowering/javascript.py", "pictures/page.html"
STORAGE, ADDRESSES, ROWS = "lowering/storage.py", "addresses.py", "rows.py"
LAUNCHING, TRITON = "torch/launching.py", "lowering/triton.py"

FRONT = "optax.py"
DIAGNOSIS, REMEDIES, TREATMENT = "doctor/diagnosis.py", "doctor/findings/remedies.py", "doctor/treatment.py"
JOURNAL, OBSERVER, WATCH = "doctor/journal.py", "doctor/observer.py", "torch/doctor.py"
PASSES, UNCLIPPED, ACTIVATIONS = "torch/passes.py", "torch/unclipped.py", "torch/activations.py"

MUTANTS = [
    # steps whose counts the GPU keeps
    Mutant(
        "a replay is taken for the same launch",
        LAUNCHING,
        "ticket = 0 if self._engine.capturing else self._ticket",
        "ticket = self._ticket",
    ),
    Mutant(
        "a captured step keeps its η", LAUNCHING, "_VALUES[value.dtype], value.data_ptr()", "self._value(value.item())"
    ),
    Mutant("any step is captured", LAUNCHING, "if capturing and (known != self._known or ", "if False and ("),
    Mutant("a skipped step moves the weights", TRITON, "tl.where(skipped, 0, ticket)", "ticket"),
    Mutant("a skipped step counts on the device", TRITON, '"if skipped == 0:"', '"if ticket > 0:"'),
    Mutant("a lead made again counts twice", TRITON, "if (now > 0) & (now <= then):", "if now < 0:"),
    Mutant("what was found is not heeded on the device", TRITON, "(value__(asked + 4, True) != 0) | ", ""),
    Mutant(
        "telemetry of a step that the device skips is lost",
        OPTIMIZER,
        "                self._until_telemetry = 0\n            else",
        "                pass\n            else",
    ),
    # JAX
    Mutant("JAX draws the second array's noise anew", "lowering/jax.py", "if k % 2:", "if not k % 2:"),
    Mutant(
        "JAX's few numbers are of float32",
        FRONT,
        "        with jax.enable_x64(True):\n            self",
        "        with jax.enable_x64(False):\n            self",
    ),
    Mutant("what is masked decays", FRONT, "kernel = kernels[decays[i]]", "kernel = kernels[decaying]"),
    Mutant(
        "a change decays upwards",
        DRIVER,
        "return -(step + lr * weight_decay * param)",
        "return -(step - lr * weight_decay * param)",
    ),
    # pictures, and what they are computed with
    Mutant("the slope of cos is sin", EXPRESSIONS, 'return (-_made("sin", a),)', 'return (_made("sin", a),)'),
    Mutant("a quotient's slope forgets the divisor's", EXPRESSIONS, "return 1 / b, -a / b**2", "return 1 / b, 0"),
    Mutant("0/0 at a tip is handed on", EXPRESSIONS, 'found = _made("ratio"', 'found = _made("/"'),
    Mutant("odd powers lose a factor", EXPRESSIONS, 'self._add("*", square, base) if n % 2', "square if n % 2"),
    Mutant("every exponent is taken for a whole one", EXPRESSIONS, " and value == int(value) else 0", " else 0"),
    Mutant("the page forgets that a NaN is the larger", SCRIPT, "a > b || a !== a ? a : b", "a > b ? a : b"),
    Mutant(
        "the page corrects with cancellation", SCRIPT, "-Math.expm1(exponent * Math.log(base))", "1 - base ** exponent"
    ),
    Mutant(
        "the page rounds its products late",
        SCRIPT,
        'return rounded(f"{bound(a, _PRODUCT)} *',
        'return (f"{bound(a, _PRODUCT)} *',
    ),
    Mutant("brackets are left out on the right", SCRIPT, "{bound(right, level + 1)}", "{bound(right, level)}"),
    Mutant("a moving surface is a step ahead in the page", PAGE, "f(x, y, t - 1), z", "f(x, y, t), z"),
    Mutant("the page's noise stands still", PAGE, "0x9E3779B1) + 2 * t;", "0x9E3779B1) + 2;"),
    Mutant("a slider keeps the kernel it had", PAGE, 'hyper[name] ? "1" : "0"', '"0"'),
    Mutant("scalar states are not carried on in the page", PAGE, "    scalars = next;\n", ""),
    Mutant("bias correction is not shown", PAGE, "short(n[name])", 'short(n[name === "m_hat" ? "exp_avg" : name])'),
    Mutant("a walk never diverges", "pictures/walk.py", "return len(self.points) <= self.steps", "return False"),
    Mutant(
        "heads run ahead of their lines",
        "pictures/frames.py",
        "head.set_data(x[last",
        "head.set_data(x[-1:], y[-1:])  #",
    ),
    # rules
    Mutant(
        "m is not corrected", ADAM, "m_hat = exp_avg / (1 - beta1**t)\n    v_hat = v", "m_hat = exp_avg\n    v_hat = v"
    ),
    Mutant("v is not corrected", ADAM, "v_hat = v / (1 - beta2**t)", "v_hat = v"),
    Mutant(
        "correction by 1 − β", ADAM, "exp_avg / (1 - beta1**t)\n    v_hat = v", "exp_avg / (1 - beta1)\n    v_hat = v"
    ),
    Mutant(
        "ε inside the root",
        ADAM,
        "(sqrt(v_hat + eps_root) + eps), exp_avg, exp_avg_sq, max",
        "sqrt(v_hat + eps_root + eps), exp_avg, exp_avg_sq, max",
    ),
    Mutant(
        "ε left out",
        ADAM,
        "(sqrt(v_hat + eps_root) + eps), exp_avg, exp_avg_sq, max",
        "sqrt(v_hat + eps_root), exp_avg, exp_avg_sq, max",
    ),
    Mutant(
        "AMSGrad's maximum after the correction",
        ADAM,
        "maximum(max_exp_avg_sq, exp_avg_sq)",
        "maximum(max_exp_avg_sq, exp_avg_sq / (1 - beta2**t))",
    ),
    Mutant(
        "AMSGrad's maximum falls",
        ADAM,
        "maximum(max_exp_avg_sq, exp_avg_sq)",
        "maximum(beta2 * max_exp_avg_sq, exp_avg_sq)",
    ),
    Mutant(
        "NAdam looks ahead to the present", ADAM, "0.96 ** ((t + 1) * momentum_decay)", "0.96 ** (t * momentum_decay)"
    ),
    Mutant("RAdam rectifies from ρ > 4", ADAM, "tractable = rho > 5", "tractable = rho > 4"),
    Mutant(
        "Adamax without |g|",
        "rules/adamax.py",
        "exp_inf = maximum(beta2 * exp_inf, abs(g))",
        "exp_inf = maximum(beta2 * exp_inf, g)",
    ),
    Mutant("LpAdam corrects with t, not pt", "rules/adamax.py", "beta2 ** (p * t)", "beta2**t"),
    Mutant(
        "LpAdam does not take out the largest",
        "rules/adamax.py",
        "scale = where(largest > 0, largest, 1)",
        "scale = where(largest > 0, 1, 1) + 0 * largest",
    ),
    Mutant("AdaBelief without the ε in s", "rules/belief.py", "** 2 + eps", "** 2"),
    Mutant(
        "ADOPT adds ε",
        "rules/modern.py",
        "g / maximum(sqrt(exp_avg_sq + eps_root), eps)",
        "g / (sqrt(exp_avg_sq + eps_root) + eps)",
    ),
    Mutant(
        "ADOPT decays at its first call", "rules/modern.py", "lr = where(started, lr, 0)", "lr = where(started, lr, lr)"
    ),
    Mutant(
        "Lion's second β is its first",
        "rules/modern.py",
        "exp_avg = beta2 * exp_avg + (1 - beta2) * g\n    return step",
        "exp_avg = beta1 * exp_avg + (1 - beta1) * g\n    return step",
    ),
    Mutant("Adagrad's η falls a step early", "rules/adagrad.py", "(t - 1) * lr_decay", "t * lr_decay"),
    Mutant(
        "the first momentum is dampened",
        "rules/gradient_descent.py",
        "where(t > 1, 1 - dampening, 1)",
        "(1 - dampening)",
    ),
    # driver
    Mutant(
        "maximize turns the decay too",
        DRIVER,
        "        g = g + weight_decay * param\n",
        "        g = g + (weight_decay - 2 * weight_decay) * param\n",
    ),
    Mutant("decay is not scaled by η", DRIVER, "else param - (step + lr * weight", "else param - (step + weight"),
    Mutant(
        "decay_after acts on the θ before",
        DRIVER,
        "moved - lr * weight_decay * moved",
        "moved - lr * weight_decay * param",
    ),
    Mutant("denormals stay", DRIVER, "where(abs(state) < tiny, 0.0, state)", "where(abs(state) < 0.0, 0.0, state)"),
    Mutant("denormals go under a gradient too", DRIVER, "where(g == 0, where", "where(g == g, where"),
    # the tail
    Mutant(
        "clipped before it is unscaled",
        OPTIMIZER,
        "largest / (norm + 1e-6)",
        "largest / (norm * scale + 1e-6)",
    ),
    Mutant(
        "unscaled twice",
        OPTIMIZER,
        "factor = told.clip_coef / scale",
        "factor = told.clip_coef / scale / scale",
    ),
    Mutant(
        "the factor of the step before", OPTIMIZER, 'elif hyper["grad_scaled"]:', 'elif False and hyper["grad_scaled"]:'
    ),
    Mutant("a short gradient is lengthened", OPTIMIZER, "1.0 if coefficient > 1 else coefficient", "coefficient"),
    Mutant(
        "a norm of one part alone",
        OPTIMIZER,
        "total = 0.0\n        for part in plan.parts:",
        "total = 0.0\n        for part in plan.parts[:1]:",
    ),
    Mutant("squares in float32", NUMBA, "g = float64({f'from", "g = ({f'from"),
    Mutant(
        "a skipped step counts",
        OPTIMIZER,
        "                    if told.skipped:\n                        return\n",
        "                    if told.skipped:\n"
        "                        self.arrays.settle(params, plan.active, plan.sight)\n"
        "                        return\n",
    ),
    Mutant("a scaled step does not look", "numpy.py", "False if grad_scale is None else None", "False"),
    Mutant("an overflow at a good time", "scaling.py", "0, good), 0)", "0, good), state.good_steps)"),
    Mutant("a floor that does not hold", "scaling.py", "state.scale, self.floor, -1)", "state.scale, 0.0, -1)"),
    Mutant("a tie is an improvement", "stopping.py", "share < self._sign", "share <= self._sign"),
    Mutant("what is kept is no copy", "stopping.py", "copy.deepcopy(self._kept), f", "self._kept, f"),
    Mutant("what was found is not heeded", OPTIMIZER, "        if found_inf is True:\n", "        if False:\n"),
    Mutant("the average begins at 0", OPTIMIZER, 'if name == "ema":', 'if name == "no":'),
    Mutant("the average does not warm up", DRIVER, "minimum(ema_decay, (1 + t) / (10 + t))", "ema_decay"),
    Mutant(
        "the average of the weights before",
        SOURCE,
        '    build.call(AFTER, hyper, {"param": "param"}, step=build.step)\n',
        '    build.call(AVERAGE, hyper, {"ema": "ema"})\n'
        '    build.call(AFTER, hyper, {"param": "param"}, step=build.step)\n',
    ),
    Mutant(
        "averages stay in the weights after an error",
        OPTIMIZER,
        "            yield\n        finally:\n",
        "            yield\n        except GeneratorExit:\n            pass\n        else:\n",
    ),
    Mutant("strided gradients are not cleared", OPTIMIZER, "if self.tail.zero_grad:", "if False:"),
    Mutant("telemetry after clearing", NUMBA, "    each += _MEASURE_BEFORE if measured else []\n", ""),
    Mutant(
        "telemetry of the gradient as it has become",
        NUMBA,
        "each += [*_MEASURE_AFTER, *(",
        "each += [*_MEASURE_BEFORE, *_MEASURE_AFTER, *(",
    ),
    Mutant(
        "telemetry of the last coordinate alone",
        NUMBA,
        "in_any_order(update_squares, moved__ * moved__)",
        "moved__ * moved__",
    ),
    Mutant("telemetry that the next step writes over", OPTIMIZER, ".copy(), self.table", ", self.table"),
    Mutant("telemetry of the first span alone", "tail.py", "np.add.reduceat(self.rows, begins)", "self.rows[begins]"),
    Mutant("telemetry of the next tensor", "tail.py", "= part.each()", "= np.roll(part.each(), 1, 0)"),
    Mutant("telemetry that overflows warns", "tail.py", 'np.errstate(over="ignore", invalid="ignore")', "lambda f: f"),
    Mutant("the largest gradients added up", "tail.py", "np.maximum.reduceat", "np.add.reduceat"),
    # the doctor
    Mutant("a full disk leaves half a line", JOURNAL, "os.ftruncate(self._file, begun)", "pass"),
    Mutant("a fork writes what waits twice", JOURNAL, "os.register_at_fork(before=_flush)", "pass"),
    Mutant("a slow step waits for 64 others", OBSERVER, "now >= run.due", "False"),
    Mutant("steps that wait are written twice", "doctor/run.py", "self.waiting, self.due = [],", "self.due ="),
    Mutant("a calm step is not stale", WATCH, "self._calm, self._stale = self._calm - 1, True", "self._calm -= 1"),
    Mutant("a calm step waits though it is ill", WATCH, "now < run.due and isfinite(loss)", "now < run.due"),
    Mutant("an examination comes late where steps are calm", WATCH, "self._next - 1 - run.step, HELD", "HELD, HELD"),
    Mutant("passes that nobody hears are not counted", PASSES, "self._each * (steps - self._left)", "0"),
    Mutant("a validation that comes late is not listened to", PASSES, "(told or steps < WAITED)", "steps < WAITED"),
    Mutant("a step's line has the names of another's", JOURNAL, "told @ (1 << np", "told[:1] @ (1 << np"),
    Mutant("what is not finite is thinned too", JOURNAL, ' | ~np.isfinite(rows[:, COLUMNS.index("loss")])', ""),
    Mutant(
        "the norm before clipping is of one",
        UNCLIPPED,
        "detach() for p in self._params",
        "detach() for p in self._params[:1]",
    ),
    Mutant(
        "who no longer arrives is waited for",
        UNCLIPPED,
        "        self._told = None\n        self._hooks",
        "        self._hooks",
    ),
    Mutant("the norm before clipping is looked at where that after it is not", WATCH, "not self._measures()", "False"),
    Mutant("a batch is known again by its number", "torch/batches.py", "mark != self._marks[", "mark is self._marks["),
    Mutant("steps that wait are left out", "doctor/run.py", "        self.take_in()\n        return", "        return"),
    Mutant("a model is measured at each step for ever", OBSERVER, "run.count >= self._eases", "False"),
    # moments in fewer bits
    Mutant(
        "a narrow moment is rounded to nearest",
        OPTIMIZER,
        'known.get(name, "stochastic")',
        'known.get(name, "nearest")',
    ),
    Mutant(
        "all steps have the same noise",
        OPTIMIZER,
        "keys.append(key_of(int(column[0])))",
        "keys.append(0)",
    ),
    Mutant("all arrays have the same noise", NUMBA, 'f"turned(random_{k // 2})" if k % 2 else', "'' if False else"),
    Mutant("every other array has the same noise", NUMBA, "= noise(random_{k - 1}, key__)", "= random_{k - 1}"),
    Mutant("the noise begins anew in each span", NUMBA, "first__, key__ = start, ", "first__, key__ = 0, "),
    Mutant(
        "an exponent is that of the block before",
        NUMBA,
        "_more[b__ // {BLOCK}] = {name}_exponent",
        "_more[max(b__ // {BLOCK} - 1, 0)] = {name}_exponent",
    ),
    Mutant(
        "a remainder is of the next element",
        NUMBA,
        'f", {name}_more[i__]" if name in pairs else ""\n            each',
        'f", {name}_more[i__ - 1]" if name in pairs else ""\n            each',
    ),
    Mutant(
        "a remainder counts from below", STORAGE, "uint32(b + uint32(0x8000)) >> uint32(16)", "uint32(b) >> uint32(16)"
    ),
    Mutant(
        "a parameter that is staged is rounded to nearest in silence", OPTIMIZER, "and kind not in KINDS:", "and False:"
    ),
    Mutant("spans part a block", ENGINE, "span = -(-(span or SPAN) // grain) * grain", "span = span or SPAN"),
    Mutant(
        "a small v is 0",
        STORAGE,
        "where(top < int32(1), int32(1), where",
        "where(top < int32(1), int32(0), where",
    ),
    Mutant("the largest has no code", STORAGE, "+ int32(2 - codes)", "+ int32(-codes)"),
    Mutant(
        "the noise begins anew in each block and stride",
        NUMBA,
        "place(element(first__, {first}), key__)",
        "place(element(first__, 0), key__)",
    ),
    Mutant("NaN takes its block along", "lowering/packing.py", "if largest >= 0x7F800000:", "if False:"),
    Mutant(
        "a moment that may be negative has no sign", "lowering/signs.py", "if not known.holds(new[state])", "if False"
    ),
    # lowering
    Mutant(
        "coefficients in half precision",
        OPTIMIZER,
        "part.table.use(lines, rows, keys)",
        "part.table.use(np.array(lines, np.float16), rows, keys)",
    ),
    Mutant(
        "1 − βᵗ cancels",
        "intrinsics.py",
        "return -math.expm1(exponent * math.log(base)) if 0 < base < 2 else 1 - base**exponent",
        "return 1 - base**exponent",
    ),
    Mutant(
        "a coefficient outlives its name",
        SOURCE,
        "values = [self.saved.get(name, name) for name in self.coefficients]",
        "values = self.coefficients",
    ),
    Mutant(
        "a coefficient is shared after a rebinding",
        SOURCE,
        "                del self.coefficients[text]",
        "                pass",
    ),
    Mutant("returned values see each other", SOURCE, "tangled = any(", "tangled = False and any("),
    Mutant(
        "the tail of a vector is dropped",
        NUMBA,
        'f"for n__ in range({first}, {end}):"',
        'f"for n__ in range({first}, {end} // 8 * 8):"',
    ),
    Mutant("every span starts at 0", NUMBA, "+ {first} * {np.dtype(memory).itemsize}", "+ {first} * 0"),
    Mutant("all take the first row of coefficients", NUMBA, "+ 24) * {width * itemsize}", "+ 24) * 0"),
    Mutant(
        "fast-math",
        NUMBA,
        """"@njit(error_model='numpy', cache=CACHE)",\n        f"def span""",
        """"@njit(fastmath=True, cache=CACHE)",\n        f"def span""",
    ),
    Mutant("a maximum swallows NaN", WORDS, "where((a > b) | (a != a), a, b)", "where(a > b, a, b)"),
    Mutant("the sign of 0 is 1", WORDS, "where(x > 0, like(1.0, x)", "where(x >= 0, like(1.0, x)"),
    Mutant("2ʳ by too few terms", WORDS, "e = _E8 + r * (_E9", "e = r * (_E9"),
    # engine
    Mutant(
        "the last element of a span is left out",
        ENGINE,
        "length = np.minimum(span, sizes[tensor] - first)",
        "length = np.minimum(span - 1, sizes[tensor] - first)",
    ),
    Mutant(
        "threads overlap",
        NUMBA,
        "range(first, min(first + batch, end))",
        "range(first, min(first + batch + 1, end))",
    ),
    Mutant("rows of the step before", ENGINE, "if rows is not None or self._rows != 1:", "if rows is not None:"),
    # steps
    Mutant("one count, raised once per parameter", "addresses.py", "(1.0 if i < n", "(1.0 * n if i < n"),
    Mutant(
        "parameters share the first one's count",
        OPTIMIZER,
        "            if not together:\n",
        "            if False:\n",
    ),
    Mutant(
        "the count saturates at 256, as in bfloat16",
        "addresses.py",
        "counts[i] = load_float64(places[i]) + (1.0 if i < n else 0.0)",
        "counts[i] = min(load_float64(places[i]) + (1.0 if i < n else 0.0), 256.0)",
    ),
    Mutant(
        "the counts are not written",
        "addresses.py",
        "store_float64(places[i], counts[i])",
        "store_float64(sight[COUNTS] + 8 * i, counts[i])",
    ),
    Mutant("all have come equally far", "addresses.py", "            same = 1\n", "            same = 2\n"),
    Mutant(
        "stale addresses of parameters",
        OPTIMIZER,
        "return self.arrays.look(params, grads, plan.sight)",
        "return self.arrays.look(params, grads, plan.sight) or 2",
    ),
    Mutant(
        "changes that autograd does not hear of",
        "addresses.py",
        "            told += 1\n    return told",
        "            told += 1\n    return n",
    ),
    Mutant(
        "changes counted where nothing is changed",
        "addresses.py",
        "        versions[i] = 0\n        if api[9]",
        "        if api[9]",
    ),
    Mutant(
        "stale addresses of gradients",
        OPTIMIZER,
        "np.take(plan.sight.gradients, part.indices, out=part.table.addresses[0])",
        "part.table.addresses[0, 0] or np.take(plan.sight.gradients, part.indices, out=part.table.addresses[0])",
    ),
    Mutant(
        "stale addresses of a lone group's gradients",
        "addresses.py",
        "gradients[i] = 0 if grad_mark == -1 or",
        "gradients[i] = gradients[i] if gradients[i] != 0 else 0 if grad_mark == -1 or",
    ),
    Mutant(
        "a gradient's strides are not looked at",
        OPTIMIZER,
        "grad.dtype == part.dtype and grad.lies(strides)",
        "grad.dtype == part.dtype",
    ),
    Mutant(
        "a state's strides are not looked at",
        OPTIMIZER,
        "form.dtype == part.dtype and form.lies(strides)",
        "form.dtype == part.dtype",
    ),
    Mutant("a replaced state goes unseen", OPTIMIZER, "if plan.changes is not State.changes or", "if"),
    Mutant(
        "a re-pointed state goes unseen",
        OPTIMIZER,
        "not plan.shown or np.array_equal(plan.described, self.arrays.describe(plan.shown))",
        "True",
    ),
    Mutant(
        "staged results are not copied back",
        OPTIMIZER,
        "self.arrays.copy(stage, original)",
        "self.arrays.copy(stage, stage)",
    ),
    Mutant(
        "hyperparameters are read once",
        OPTIMIZER,
        "if self.kernel is None or not same:",
        "if self.kernel is None:",
    ),
    Mutant("a tensor η is read once", OPTIMIZER, "mutable = any(", "mutable = False and any("),
    Mutant(
        "all groups have the first one's hyperparameters",
        OPTIMIZER,
        "hyper = self._hyper[part.group].numbers\n            for column",
        "hyper = self._hyper[0].numbers\n            for column",
    ),
    Mutant(
        "moved between groups unseen",
        OPTIMIZER,
        ' or len(group["params"]) != length:',
        ":",
    ),
    Mutant("autograd is not told", "torch/arrays.py", "self._age(sight.places[3], len(params)) < len(active)", "False"),
    Mutant(
        "loading takes hold of the caller's tensors",
        "torch/arrays.py",
        "        array = array.detach()\n",
        "        return array\n",
    ),
    Mutant(
        "narrow parameters have narrow states",
        "torch/arrays.py",
        "return torch.float32 if param.dtype in",
        "return param.dtype if param.dtype in",
    ),
    Mutant(
        "a complex gradient's lazy conjugate is forgotten",
        "torch/arrays.py",
        "            and not tensor.is_conj()\n",
        "",
    ),
    Mutant(
        "a torch SGD's buffer begins anew",
        "loading.py",
        '"step": 1.0}',
        '"step": 0.0}',
    ),
    # all or nothing
    Mutant(
        "an interrupted step leaves its plan", OPTIMIZER, "plan, self._plan = self._plan, None", "plan = self._plan"
    ),
    Mutant("an interrupted commit is not ended", ENGINE, "ATTEMPTS = 4", "ATTEMPTS = 1"),
    Mutant(
        "threads that help are not waited for",
        ENGINE,
        "        for turn in self._turns:\n",
        "        for turn in ():\n",
    ),
    Mutant(
        "counts are written before the kernels have run",
        OPTIMIZER,
        "        unbroken(self._commit, plan, works, results,",
        "        self.arrays.settle(params, plan.active, plan.sight)\n"
        "        unbroken(self._commit, plan, works, results,",
    ),
    Mutant(
        "no thread, no step",
        ENGINE,
        "with suppress(RuntimeError):  #",
        "with suppress(KeyError):  #",
    ),
    Mutant("an expanded state is written to", OPTIMIZER, "    if form.overlaps:\n", "    if False:\n"),
    Mutant(
        "a differentiable step finds out about leaves when it writes",
        "torch/arrays.py",
        "                _refuse_unrecordable(target)\n",
        "                pass\n",
    ),
    Mutant(
        "gradients over parameters",
        "arrays.py",
        "if min(k, other) >= written:",
        "if max(k, other) >= written:",
    ),
    # state dicts
    Mutant(
        "loading casts to the parameter's dtype",
        "torch/arrays.py",
        "torch.promote_types(array.dtype, _wide(param))\n",
        "param.dtype\n",
    ),
    Mutant(
        "loading takes the layout of the dict",
        "torch/arrays.py",
        "        if type(param) not in _PLAIN:\n            return array.to(param.device, dtype, copy=True)\n",
        "        return array.to(param.device, dtype, copy=True)\n",
    ),
    Mutant(
        "a state that lacks a moment is loaded",
        "loading.py",
        'for name in ("step", *rule.source.scalars, *alive) if held else ():',
        "for name in ():",
    ),
    Mutant(
        "a smaller state is loaded",
        "loading.py",
        "if form.shape != param.shape:",
        "if len(form.shape) != len(param.shape):",
    ),
    # sparse gradients
    Mutant(
        "rows that come twice: the last counts",
        ADDRESSES,
        "            add(value, total,",
        "            copy(value, total, size) #",
    ),
    Mutant(
        "what comes twice is added to the gradient",
        ADDRESSES,
        "            if addresses[count - 1] != total:\n",
        "            total = addresses[count - 1]\n            if False:\n",
    ),
    Mutant("sums of half a row", ADDRESSES, "float64_array(values, size // 8)", "float64_array(values, size // 16)"),
    Mutant("what claims to be coalesced is believed", ADDRESSES, "        if row <= last:\n", "        if False:\n"),
    Mutant("the row behind the last", ADDRESSES, "named[k] >= limit", "named[k] > limit"),
    Mutant("a negative row", ADDRESSES, "if named[k] < 0 or", "if"),
    Mutant("rows are sorted by their last digit", ADDRESSES, "while limit > 1 << (8 * digits):", "while False:"),
    Mutant("an odd number of rounds", ADDRESSES, "digits += digits % 2", "digits += 0"),
    Mutant(
        "equal rows change places",
        ADDRESSES,
        "for k in range(n):\n            value = rows[k]",
        "for k in range(n - 1, -1, -1):\n            value = rows[k]",
    ),
    Mutant(
        "rows of the step before",
        OPTIMIZER,
        "                part.touched.lay_out(",
        "                part.table.used or part.touched.lay_out(",
    ),
    Mutant("row numbers of 32 bits", ADDRESSES, "places[a] + row * steps[a]", "places[a] + np.int32(row * steps[a])"),
    Mutant(
        "states lie as their parameter does",
        ROWS,
        "[form.strides[0] * form.itemsize for form in forms]",
        "[forms[0].strides[0] * forms[0].itemsize for form in forms]",
    ),
    Mutant("rows with gaps are run through", ROWS, "and same and row.lies(row.contiguous)", "and same"),
    Mutant(
        "values once in order are taken to be so for ever",
        ROWS,
        "if mark in (-1, 0) or mark != self._mark:",
        "if self._mark == -1:",
    ),
    Mutant("staged rows are not put back", ROWS, "self._arrays.put(stage, self._held[k],", "(stage, self._held[k],"),
    Mutant("a row is taken for a parameter", ENGINE, "tensor if whole else np.zeros_like(tensor)", "tensor"),
    Mutant("rows of the step before take part", ENGINE, "self.used = spans // capacity * tensors", "self.used = spans"),
    Mutant(
        "each row is measured as a whole parameter",
        OPTIMIZER,
        "                sizes[plan.active[part.members]] = part.touched.table.elements\n",
        "",
    ),
    Mutant("a copy of the whole table", "numpy.py", "return array[rows]", "return array.copy()[rows]"),
    Mutant("the first rows' values may be the first rows", OPTIMIZER, "or grad.shape != param.shape or", "or"),
    Mutant(
        "values are let go before the kernel runs",
        ROWS,
        "= arrays.describe([self._values])[:1].tolist()",
        "= arrays.describe([self._values])[:1].tolist()\n            self._values = None",
    ),
    Mutant("torch keeps rows of zeros", TENSORS, "grad.zero_()  # which", "grad._values().zero_()  # which"),
    Mutant("Adagrad begins late rows at 0", OPTIMIZER, 'if start and "sum" in more:', "if False:"),
    Mutant(
        "values may be rows of the parameter",
        OPTIMIZER,
        "self.arrays.describe([grads[i] for i in active])",
        "self.arrays.describe(written[: len(active)])",
    ),
    Mutant(
        "a sparse gradient is taken for the dense one before",
        "addresses.py",
        "            return SPARSE\n",
        "            return last\n",
    ),
    Mutant(
        "every step makes its plan anew",
        "addresses.py",
        "mark = -1 if last == SPARSE else",
        "mark = last - 1 if last < -1 else",
    ),
    Mutant(
        "SparseAdam has Adam's ε",
        ADAM,
        "rate * exp_avg / (sqrt(exp_avg_sq) + eps)",
        "rate * exp_avg / (sqrt(exp_avg_sq) + sqrt(1 - beta2**t) * eps)",
    ),
    Mutant(
        "a real gradient of a complex parameter",
        "arrays.py",
        "if grad.lanes != param.lanes:",
        "if grad.lanes > param.lanes:",
    ),
    Mutant("a real state of a complex parameter is loaded", "loading.py", "if form.lanes != param.lanes:", "if False:"),
    Mutant("a negative count is loaded", "loading.py", "0 <= float(held) < math.inf", "float(held) < math.inf"),
    Mutant("two names for one parameter", "loading.py", "if params[first] is not params[i]:", "if False:"),
    Mutant("further entries are the caller's own", "loading.py", "return copy.deepcopy(value)", "return value"),
    Mutant(
        "groups are changed before states are read",
        "numpy.py",
        '        names = [f"parameter {key!r}" for key in self._keys]\n',
        '        names = [f"parameter {key!r}" for key in self._keys]\n'
        "        for own, group in zip(self.param_groups, state_dict['param_groups']):\n"
        "            own['lr'] = group['lr']\n",
    ),
    # threads and processes
    Mutant("changes are counted, which two threads may do at once", "state.py", "object()", "0"),
    Mutant(
        "a fork takes the threads along",
        ENGINE,
        "os.register_at_fork(after_in_child=self._forget)  #",
        "pass  #",
    ),
    # minimizing, and scikit-learn
    Mutant("the last point is returned for the best", "descent.py", "(finite and not fun >= best[0])", "finite"),
    Mutant("bounds are left", "descent.py", "nit += 1\n        if box is not None:", "nit += 1\n        if False:"),
    Mutant(
        "the gradient is not projected", "descent.py", "grad if box is None else x - np", "grad if True else x - np"
    ),
    Mutant("differences leave the bounds", "descent.py", "np.where(at + step > high, -step, step)", "step"),
    Mutant("one small step ends it", "descent.py", "small >= stop.window", "small"),
    Mutant("the objective gets x itself", "descent.py", "_scalar(self._fun(x.copy()))", "_scalar(self._fun(x))"),
    Mutant(
        "the intercepts decay too",
        "sklearn.py",
        '{"params": flat[1], "weight_decay": 0.0}',
        '{"params": flat[1], **decay}',
    ),
    Mutant("tanh has a wrong derivative", "sklearn.py", "delta *= 1 - before * before", "delta *= 1 - before"),
    Mutant("weights of rows are not scaled", "sklearn.py", "weights[batch] / mean", "weights[batch]"),
    Mutant("the best is not brought back", "sklearn.py", "        if best_flat is not None:", "        if False:"),
    Mutant("ends an epoch early", "sklearn.py", "waited > self.n_iter_no_change", "waited >= self.n_iter_no_change"),
    Mutant("a step sees the sum, not the mean", "sklearn.py", "delta /= len(y)", "delta /= 1"),
    # what torch asks of an optimizer
    Mutant("a negative η is taken", "hyperparameters.py", "return 0 <= x < math.inf", "return x < math.inf"),
    Mutant("an error in other words", "hyperparameters.py", '"lr_decay": ("lr_decay value"', '"lr_decay": ("decay"'),
    Mutant(
        "foreach is taken with a tensor for η", TORCH, 'if group["foreach"] and not group["capturable"]:', "if False:"
    ),
    Mutant("one β may be a tensor", TORCH, "if isinstance(beta1, Tensor) != isinstance(beta2, Tensor):", "if False:"),
    Mutant(
        "fused is taken with differentiable", TORCH, 'if defaults["fused"] and defaults["differentiable"]:', "if False:"
    ),
    Mutant("a new group is not checked", TORCH, "            self._check({**self.defaults, **param_group})\n", ""),
    Mutant("a generator of parameters is used up", TORCH, 'param_group["params"] = params = list(', "params = list("),
    Mutant(
        "a tensor's axes pass on",
        TENSORS,
        "value.reshape(()) if isinstance(value, Tensor)",
        "value if isinstance(value, Tensor)",
    ),
    Mutant("a closure runs without gradients", TORCH, "with torch.enable_grad():", "if True:"),
    Mutant("a closure's loss is lost", TORCH, "        return loss\n", ""),
    Mutant("a closure runs twice", TORCH, "loss = closure()", "closure()\n                loss = closure()"),
    Mutant("global hooks are not called", TORCH, "            or torch_optimizer._global_optimizer_post_hooks\n", ""),
    Mutant(
        "a hook sees a closure that is none",
        TORCH,
        "self._watched() if closure is None else self._watched(closure)",
        "self._watched(closure)",
    ),
    Mutant("the profiler sees no step", TORCH, "            or torch.autograd.profiler._is_profiler_enabled\n", ""),
    Mutant(
        "a gradient is touched",
        OPTIMIZER,
        "self.arrays.copy(grads[i], stage)",
        "self.arrays.copy(grads[i].neg_().neg_(), stage)",
    ),
    Mutant(
        "a state dict holds states of ours",
        TORCH,
        "dict(s) if isinstance(s, State) else s for",
        "s for",
    ),
    Mutant("what a hook made is not loaded", TORCH, "state_dict = state_dict if changed is None else changed", "pass"),
    Mutant("options of an older version stay out", TORCH, "group.setdefault(name, value)", "pass"),
    Mutant("a count that was a float begins anew", OPTIMIZER, "self.arrays.copy(float(value), scalar)", "pass"),
    Mutant("AdamW couples what an Adam saved", TORCH, 'if self.rule.name == "adamw":', "if False:"),
    # diagnosis and treatment
    Mutant("a finding flickers", DIAGNOSIS, "state.missed >= CALM and", ""),
    Mutant("a finding is opened at first sight", DIAGNOSIS, "elif state.seen >= state.kind.confirm:", "else:"),
    Mutant(
        "checks that found it need not be in a row",
        DIAGNOSIS,
        "state.seen, state.missed = 0, state",
        "state.missed = state",
    ),
    Mutant("what has happened is forgotten", DIAGNOSIS, " and not state.kind.lasting", ""),
    Mutant(
        "a consequence is taken for the root",
        DIAGNOSIS,
        "kind.code in other.explains and",
        "other.code in kind.explains and",
    ),
    Mutant(
        "of two that explain each other the higher rank rules",
        DIAGNOSIS,
        "other.rank < kind.rank",
        "other.rank > kind.rank",
    ),
    Mutant("only the nearest cause is asked for", DIAGNOSIS, "while above[root]:", "if above[root]:"),
    Mutant("a note speaks before an ailment", DIAGNOSIS, '(pair[1].severity == "note", pair[0].rank)', "pair[0].rank"),
    Mutant(
        "an η too high is lowered to the usual ratio at once",
        REMEDIES,
        "wanted_ratio(steps, 3 * GOOD_RATIO)",
        "wanted_ratio(steps, GOOD_RATIO)",
    ),
    Mutant("a short run ends on the way", REMEDIES, "min(1e-2, max(usual, 3 / steps)) if steps else usual", "usual"),
    Mutant("an η is lowered without limit", REMEDIES, "min(1 / 3, max(1 / 300, factor))", "min(1 / 3, factor)"),
    Mutant("a limit clips half of the steps", REMEDIES, "rounded(2 * middle)", "rounded(middle)"),
    Mutant(
        "what lies within the noise counts as a fall", "doctor/run.py", "2.5 * spread / math.sqrt(third)", "0 * spread"
    ),
    Mutant(
        "one outlier is a surge", "doctor/run.py", "np.minimum(np.maximum(a, b), c)", "np.maximum(np.maximum(a, b), c)"
    ),
    Mutant("saturated units flicker", "doctor/findings/saturated_units.py", "(0.4 if standing else 0.6)", "0.6"),
    Mutant(
        "an η is too low before the run has begun",
        "doctor/findings/lr_too_low.py",
        "look.count < 40 or not look.reached(0.25, 200) or ",
        "",
    ),
    Mutant("a remedy that did not help is built upon", TREATMENT, "        if not helped:\n            return\n", ""),
    Mutant("a note ails a run", TREATMENT, 'if finding.severity != "note"]', "]"),
    Mutant(
        "notes are not tried", TREATMENT, "for finding in outcome.findings:", "for finding in ailing(outcome.findings):"
    ),
    Mutant(
        "a run that was joined has no beginning that was missed",
        "doctor/run.py",
        "return len(at) > 1 and",
        "return False and",
    ),
    Mutant("a layer's units are alive if all batches say so", ACTIVATIONS, "held]).any(0)", "held]).all(0)"),
    Mutant("two units are a layer", ACTIVATIONS, " or len(held[0][0]) < UNITS", ""),
    Mutant("weights that begin at 0 never creep", "doctor/findings/lr_too_low.py", "creeps or bound", "creeps"),
    Mutant("all steps tell", "doctor/run.py", "0.1 * self.peak", "0.0 * self.peak"),
    Mutant("what a warm-up comes to is known", "doctor/run.py", "== self.peak > 1.001", "== self.peak > math.inf"),
    Mutant("a fine-tuning is none", "doctor/run.py", "self.first < 0.8 * self.entropy", "self.first < 0.0"),
    Mutant("a joined run began where it was met", "doctor/run.py", "math.nan if self.joined else abs", "abs"),
    Mutant("each small loss is a small model", "doctor/findings/underfitting.py", " and 20 * look", " and 0 * look"),
    Mutant("all of the data leak", "doctor/findings/leaking_normalisation.py", ' and not train.get("the_same")', ""),
    Mutant("a recurrence is measured rarely", WATCH, "            self._eases = None", "            pass"),
    Mutant("what cannot be learnt creeps", "doctor/findings/lr_too_low.py", " and not aimless", ""),
    Mutant("what is frozen and learns nothing is meant", "doctor/findings/frozen_parameters.py", " and not stuck", ""),
    Mutant(
        "β₂ is for ever weighed down by the first gradients",
        "doctor/findings/beta2_horizon.py",
        "late < first",
        "False",
    ),
    Mutant("the last run is the best", "fix/__init__.py", "if round.kept][-1]", "][-1]"),
    Mutant(
        "less found counts for more than a better measure",
        "fix/__init__.py",
        "if abs(a - b) <= NEAR * abs(b):",
        "if True:",
    ),
    Mutant(
        "a trained file's schedule outlives its replacement",
        "fix/ways.py",
        "            scheduler = schedule(optimizer, factor)\n",
        "            pass\n",
    ),
    Mutant(
        "inputs are normalised for the training alone",
        "fix/watched.py",
        "training.module.register_forward_pre_hook(normal)",
        "training.module.register_forward_pre_hook(lambda m, a: normal(m, a) if m.training else None)",
    ),
]


def run_tests(source: Path, cache: Path) -> tuple[str, str]:
    """What became of the tests over these sources: "passed", "failed" or "broken"; and the first that failed."""
    env = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}", "ADAMAS_CACHE": str(cache), "PYTHONHASHSEED": "0"}
    for chosen in TESTS:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *chosen]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode < 0:
            return "failed", f"{chosen[0]} (ended by signal {-done.returncode})"
        if done.returncode != 0:
            lines = done.stdout.splitlines()
            first = next((line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")), "")
            return ("failed", first.split(" - ")[0]) if first else ("broken", "\n".join(lines[-15:]))
    return "passed", ""


def try_mutant(mutant: Mutant, cache: Path) -> tuple[str, str]:
    """Plant a bug into a copy of the sources and run the tests."""
    with tempfile.TemporaryDirectory(prefix="mutant") as folder:
        source = Path(folder)
        shutil.copytree(ROOT / "src" / "adamas", source / "adamas", ignore=shutil.ignore_patterns("__pycache__"))
        path = source / "adamas" / mutant.file
        text = path.read_text()
        if mutant.old not in text:
            return "gone", f"{mutant.file} no longer holds {mutant.old!r}"
        path.write_text(text.replace(mutant.old, mutant.new))
        return run_tests(source, cache)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="mutants whose description contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.only or options.only in m.bug]
    with tempfile.TemporaryDirectory(prefix="mutants-cache") as folder:
        cache = Path(folder)
        start = time.perf_counter()
        outcome, first = run_tests(ROOT / "src", cache)
        if outcome != "passed":
            print(f"The tests do not pass unharmed: {outcome} {first}")
            return 1
        print(f"unharmed: passed in {time.perf_counter() - start:.0f} s", flush=True)
        survivors = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for k, (mutant, (outcome, first)) in enumerate(
                zip(chosen, pool.map(lambda m: try_mutant(m, cache), chosen), strict=True), 1
            ):
                caught = outcome == "failed"
                survivors += [] if caught else [mutant]
                print(f"{k:3d} {'caught' if caught else outcome.upper():8s} {mutant.bug:55s} {first}", flush=True)
        print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught in {time.perf_counter() - start:.0f} s")
        return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
