"""The checks: each a small function of what was seen. docs/check.md tells where the limits come from."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from adamas.torch.checks.observe import TRIAL, Comparison, Seen, Trial
from adamas.torch.checks.report import Result

Verdict = tuple[str, str, str]

#: Every check, in the order of their codes.
CHECKS: list[Callable[[Seen], Result]] = []

#: Classes of optimizers that divide by a root of squared gradients, here and in torch.
ADAPTIVE = frozenset(
    "Adam AdamW NAdam RAdam Adamax LpAdam AdaBelief ADOPT Adagrad RMSprop Adadelta SparseAdam Adafactor".split()
)


def _check(code: str, name: str) -> Callable[[Callable[[Seen], Verdict]], Callable[[Seen], Result]]:
    def add(judge: Callable[[Seen], Verdict]) -> Callable[[Seen], Result]:
        def check(seen: Seen) -> Result:
            if seen.broken and code > "P04":
                return Result(code, name, "skip", "The loss cannot be computed: see P04.")
            return Result(code, name, *judge(seen))

        check.__doc__ = judge.__doc__
        CHECKS.append(check)
        return check

    return add


def _fine(evidence: str) -> Verdict:
    return "pass", evidence, ""


def _skip(why: str) -> Verdict:
    return "skip", why, ""


def _some(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _n(count: int, thing: str, plural: str = "") -> str:
    return f"{count:,} {thing if count == 1 else plural or thing + 's'}"


# -- data ------------------------------------------------------------------------------------------------------------


def _floats(seen: Seen) -> list[torch.Tensor]:
    """The first floating-point input of each batch, batches first."""
    firsts = [next((a for a in p.inputs if a.is_floating_point() and a.ndim), None) for p in seen.passes]
    return [a.double() for a in firsts if a is not None and a.numel()]


_NO_FLOATS = "The model is given no numbers in floating point."


@_check("P01", "inputs-finite")
def inputs_finite(seen: Seen) -> Verdict:
    """NaN or infinity in the inputs."""
    if not (inputs := _floats(seen)):
        return _skip(_NO_FLOATS)
    bad = sum(int((~torch.isfinite(a)).sum()) for a in inputs)
    rows = sum(len(a) for a in inputs)
    if bad:
        return (
            "fail",
            f"{_n(bad, 'number')} in {_n(rows, 'row')} of inputs {_are(bad)} NaN or infinite.",
            "Find where they come from; fill or drop them before they reach the model: one makes every weight NaN.",
        )
    return _fine(f"{_n(rows, 'row')} in {_n(len(inputs), 'batch', 'batches')} looked at.")


@_check("P02", "inputs-scale")
def inputs_scale(seen: Seen) -> Verdict:
    """Inputs that are not of the order of 1, or features that differ much in scale."""
    if not (inputs := [a for a in _floats(seen) if torch.isfinite(a).all()]):
        return _skip(_NO_FLOATS if not _floats(seen) else "The inputs are not finite: see P01.")
    rms = math.sqrt(sum(float(a.square().sum()) for a in inputs) / sum(a.numel() for a in inputs))
    remedy = "Subtract the mean of the training data and divide by its standard deviation, feature by feature."
    told = f"Root mean square {rms:.3g}"
    if rms > 100 or rms < 1e-3:
        return "fail", f"{told}; about 1 is wanted, 0.1 to 10 is fine.", remedy
    if rms > 10 or rms < 0.1:
        return "warn", f"{told}; about 1 is wanted, 0.1 to 10 is fine.", remedy
    if inputs[0].ndim in (2, 4):
        rows = torch.cat([a.transpose(1, -1).reshape(-1, a.shape[1]) for a in inputs if a.ndim == inputs[0].ndim])
        spread = rows.std(dim=0)
        spread = spread[spread > 0]
        if len(spread) > 1 and len(rows) > 1:
            ratio = float(spread.max() / spread.min())
            told += (
                f"; standard deviations of {_n(len(spread), 'feature')} from {spread.min():.3g} to {spread.max():.3g}"
            )
            if ratio > 1000:
                return "warn", f"{told}: a ratio of {ratio:,.0f}, and up to 1,000 is fine.", remedy
    return _fine(f"{told}.")


@_check("P03", "inputs-vary")
def inputs_vary(seen: Seen) -> Verdict:
    """Rows that are all the same."""
    inputs = [a for p in seen.passes for a in p.inputs[:1] if a.ndim]
    rows = [a[i] for a in inputs for i in range(min(len(a), 64))]
    if len(rows) < 2 or any(r.shape != rows[0].shape for r in rows):
        return _skip("There are not two rows of one shape to compare.")
    if all(r.equal(rows[0]) for r in rows[1:]):
        return (
            "fail",
            f"All {len(rows)} rows looked at are the same.",
            "Look at what the data set gives for different indices, and at every transformation after it.",
        )
    return _fine(f"{len(rows)} rows compared.")


@_check("P04", "labels-range")
def labels_range(seen: Seen) -> Verdict:
    """Labels that cannot be: class numbers outside the outputs, probabilities outside [0, 1], NaN."""
    if not seen.comparisons:
        return _skip("No loss of torch.nn.functional was called: labels are not known.")
    told: list[str] = []
    for calls in seen.comparisons:
        first, wrong = calls[0], sum(c.wrong for c in calls)
        labels = torch.cat([c.labels for c in calls])
        if not len(labels):
            continue
        span = f"from {labels.min():.4g} to {labels.max():.4g}"
        allowed, remedy = {
            "classes": (
                f"{first.classes} outputs allow 0 to {first.classes - 1}",
                "Number the classes from 0, with an output for each; mark what is to be left out with ignore_index.",
            ),
            "binary": ("0 to 1 is allowed", "Give 0 for no and 1 for yes."),
            "numbers": ("they must be finite", "Fill or drop the rows that have them."),
        }[first.kind]
        if wrong:
            said = f"{wrong:,} of {len(labels):,} labels of {first.function} cannot be: they go {span}, {allowed}"
            return "fail", f"{said}.", remedy
        told.append(f"{_n(len(labels), 'label')} {span}; {allowed}")
    return _fine(f"{'; '.join(told)}.") if told else _skip("Every label is one to be ignored.")


@_check("P05", "labels-shape")
def labels_shape(seen: Seen) -> Verdict:
    """Outputs and targets of different shapes, which broadcast."""
    pairs = [(c.function, c.output, c.target) for calls in seen.comparisons for c in calls[:1] if c.kind != "classes"]
    if not pairs:
        return _skip("No loss compares element by element.")
    for function, output, target in pairs:
        if output != target:
            return (
                "fail",
                f"{function} compares outputs of shape {output} with targets of shape {target}: every one with every "
                "other.",
                "Bring both to one shape, as by target[:, None] or output.squeeze(-1).",
            )
    return _fine(f"Outputs and targets are both of shape {pairs[0][1]}.")


def _counts(calls: list[Comparison]) -> torch.Tensor:
    """How often each class was seen."""
    labels = torch.cat([c.labels for c in calls])
    labels = labels.round() if labels.is_floating_point() else labels
    labels = labels[(labels >= 0) & (labels < calls[0].classes)].long()
    return torch.bincount(labels, minlength=calls[0].classes)


def _classifying(seen: Seen) -> list[list[Comparison]]:
    return [calls for calls in seen.comparisons if calls[0].kind != "numbers" and sum(len(c.labels) for c in calls)]


@_check("P06", "labels-classes")
def labels_classes(seen: Seen) -> Verdict:
    """One class alone, or far fewer classes than outputs."""
    if not (all_calls := _classifying(seen)):
        return _skip("Nothing is classified.")
    told: list[str] = []
    for calls in all_calls:
        counts, classes = _counts(calls), calls[0].classes
        there, labels = int((counts > 0).sum()), int(counts.sum())
        said = f"{there} of {_n(classes, 'class', 'classes')} in {_n(labels, 'label')}"
        if classes == 1:
            return (
                "fail",
                f"{calls[0].function} is given one output: its loss is 0 whatever the model says.",
                "Give the model an output for each class, or use binary_cross_entropy_with_logits.",
            )
        if there < 2 and labels >= 16:
            return "fail", f"{said}.", "Shuffle the data; look at how labels are read."
        if there * 2 <= classes and labels >= 10 * classes:
            return (
                "warn",
                f"{said}: with that many, every class should have come up.",
                f"Give the model an output for each class; the largest label + 1 is {int(counts.nonzero().max()) + 1}.",
            )
        told.append(said)
    return _fine(f"{'; '.join(told)}.")


@_check("P07", "initial-loss")
def initial_loss(seen: Seen) -> Verdict:
    """A first loss unlike that of guessing: ln K for K classes, the mean square of the targets for a regression."""
    losses = [p.loss for p in seen.passes]
    if not all(map(math.isfinite, losses)):
        return (
            "fail",
            f"The loss is {next(x for x in losses if not math.isfinite(x))} before any step.",
            "Look for a logarithm or a root of 0, or a division by 0; torch.autograd.detect_anomaly() names it.",
        )
    told: list[str] = []
    for calls in seen.comparisons:
        first, known = calls[0], [c.loss for c in calls if c.loss is not None]
        if not known or first.weighted or (first.kind == "numbers" and first.function != "mse_loss"):
            continue
        loss = sum(known) / len(known)
        if first.kind == "numbers":
            square = float(torch.cat([c.labels for c in calls]).double().square().mean())
            if not square:
                continue
            said = f"{loss:.3g}, {loss / square:.2g} times that of predicting 0 ({square:.3g})"
            if loss > 10 * square:
                return "warn", f"{said}; up to 10 is fine.", "Make the last layer's initial weights smaller."
        else:
            if first.classes < 2:
                continue
            guess, counts = math.log(first.classes), _counts(calls).double()
            share = counts[counts > 0] / counts.sum()
            entropy = min(guess, float(-(share * share.log()).sum())) if first.classes <= counts.sum() / 5 else guess
            said = f"{loss:.3g} = {loss / guess:.2g} × ln {first.classes}"
            if loss > 1.5 * guess:
                return (
                    "fail" if loss > 3 * guess else "warn",
                    f"{said}; guessing gives 1, and 0.8 to 1.5 is fine.",
                    "The model is sure before it has learnt anything: make the last layer's initial weights smaller "
                    "(0 will do), or scale the inputs (P02).",
                )
            if loss < 0.8 * entropy:
                return (
                    "warn",
                    f"{said}; guessing gives 1, and 0.8 to 1.5 is fine.",
                    "Fine if the model was trained before; else look whether the inputs contain the label.",
                )
        told.append(said)
    return _fine(
        f"{'; '.join(told)}." if told else f"{losses[0]:.4g}, finite; no loss of which a first value is known."
    )


@_check("P08", "labels-balance")
def labels_balance(seen: Seen) -> Verdict:
    """Classes that are much rarer than others, without weights."""
    judged: list[str] = []
    for calls in _classifying(seen):
        counts = _counts(calls)
        there, labels = counts[counts > 0], int(counts.sum())
        if len(there) < 2 or labels < 5 * calls[0].classes:
            continue
        ratio = float(there.max() / there.min())
        said = f"the commonest of {len(there)} classes is {ratio:.3g} times as common as the rarest"
        if ratio > 10 and not calls[0].weighted:
            return (
                "warn",
                f"In {labels:,} labels {said}; up to 10 is fine.",
                "Judge by a measure that sees rare classes (balanced accuracy); weight the loss, if they matter.",
            )
        judged.append(f"In {labels:,} labels {said}" + (", and classes are weighted" if calls[0].weighted else ""))
    if not judged:
        return _skip("There are too few labels to say." if _classifying(seen) else "Nothing is classified.")
    return _fine(f"{'; '.join(judged)}.")


@_check("P09", "shuffled")
def shuffled(seen: Seen) -> Verdict:
    """A second epoch in the order of the first."""
    if seen.repeats is None:
        return _skip("An epoch is one batch.")
    if seen.repeats:
        how = "shuffle=True" if isinstance(seen.setup.data, DataLoader) else "a new order in every epoch"
        return "warn", "A second epoch begins with the same batch as the first.", f"Give the data {how}."
    return _fine("A second epoch begins with another batch.")


@_check("P25", "outputs-scale")
def outputs_scale(seen: Seen) -> Verdict:
    """Probabilities where the loss wants logits, and the reverse."""
    judged: list[str] = []
    for calls in _classifying(seen):
        name, scale = calls[0].function, calls[0].scale
        if any(c.scale != scale for c in calls) or calls[0].classes < 2:
            continue
        if name == "cross_entropy" and scale == "probabilities":
            return (
                "fail",
                "cross_entropy is given probabilities, and takes a softmax of its own.",
                "Leave the model's softmax out; take it where probabilities are read.",
            )
        if name == "binary_cross_entropy_with_logits" and scale == "probabilities":
            return (
                "warn",
                "binary_cross_entropy_with_logits is given numbers from 0 to 1 alone, and takes a sigmoid of its own.",
                "Leave the model's sigmoid out; take it where probabilities are read.",
            )
        if name == "nll_loss" and scale != "log-probabilities":
            return (
                "fail",
                f"nll_loss is given {scale}, and wants their logarithms.",
                "Use cross_entropy on logits, or end the model in log_softmax.",
            )
        judged.append(f"{name} is given {scale}")
    return _fine(f"{'; '.join(judged)}.") if judged else _skip("Nothing is classified.")


# -- model -----------------------------------------------------------------------------------------------------------


@_check("P10", "modes")
def modes(seen: Seen) -> Verdict:
    """Dropout or batch norm that is not in training mode."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
    model = seen.setup.model
    affected = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    asleep = [name or type(model).__name__ for name, module in affected.items() if not module.training]
    if not model.training:
        return (
            "fail" if asleep else "warn",
            "The model is in eval mode"
            + (f": dropout is off and batch norm stands still in {_some(asleep)}." if asleep else "."),
            "Call model.train() before training, and again after each validation.",
        )
    if asleep:
        return (
            "warn",
            f"{_n(len(asleep), 'module')} of {len(affected)} with dropout or batch norm {_are(len(asleep))} "
            f"in eval mode: {_some(asleep)}.",
            "Fine if they are frozen on purpose; else call model.train().",
        )
    return _fine(f"In training mode; {_n(len(affected), 'module')} with dropout or batch norm.")


@_check("P11", "gradients")
def gradients(seen: Seen) -> Verdict:
    """Parameters that no gradient reaches, or one that is not finite."""
    of = {kind: [n for n, k in seen.gradients.items() if k == kind] for kind in ("none", "zero", "some", "not finite")}
    if of["not finite"]:
        return (
            "fail",
            f"The gradient of {_some(of['not finite'])} is not finite.",
            "Look for a root or a norm at 0, or an overflow; torch.autograd.detect_anomaly() names it.",
        )
    if of["none"]:
        return (
            "fail",
            f"{_n(len(of['none']), 'parameter')} of {len(seen.gradients)} "
            f"{'has' if len(of['none']) == 1 else 'have'} no part in the loss: {_some(of['none'])}.",
            "Use them in forward(), look for .detach() or no_grad on the way, or freeze them: requires_grad_(False).",
        )
    trials = [trial for trial in (seen.own, *seen.reference.values()) if trial is not None]
    still = [name for name in of["zero"] if not any(name in trial.reached for trial in trials)]
    if still:
        return (
            "fail",
            f"The gradient of {_n(len(still), 'parameter')} of {len(seen.gradients)} is exactly 0 in every batch and "
            f"throughout the trial: {_some(still)}.",
            "Look for dead units (P12), a factor of 0, or a branch that is never taken.",
        )
    woke = (
        f" {_n(len(of['zero']), 'parameter')} only after the first step: what follows begins at 0."
        if of["zero"]
        else ""
    )
    return _fine(f"All {len(seen.gradients)} parameters are reached; norm {seen.passes[0].norm:.3g}.{woke}")


@_check("P12", "dead-units")
def dead_units(seen: Seen) -> Verdict:
    """Units of ReLU, tanh or sigmoid that pass no gradient on for any row."""
    longest = max(len(p.alive) for p in seen.passes)
    sites: list[tuple[float, str]] = []
    for i in range(longest):
        masks = [p.alive[i] for p in seen.passes if i < len(p.alive)]
        same = [mask for name, mask in masks if name == masks[0][0] and mask.shape == masks[0][1].shape]
        alive = torch.stack(same).any(dim=0)
        dead = int((~alive).sum())
        sites.append((dead / alive.numel(), f"{dead} of {alive.numel()} units of {masks[0][0]} no. {i + 1}"))
    if not sites:
        return _skip("No ReLU, tanh or sigmoid was called.")
    share, said = max(sites)
    if share > 0.5:
        return (
            "fail" if share >= 0.9 else "warn",
            f"{said} pass on no gradient for any row looked at; up to half is fine.",
            "Check the scale of the inputs (P02) and of the initial weights (He for ReLU, Glorot for tanh), and for "
            "large negative biases.",
        )
    return _fine(f"At worst {said} pass on no gradient.")


@_check("P13", "one-batch")
def one_batch(seen: Seen) -> Verdict:
    """A batch that cannot be learnt by heart, on a copy."""
    if not math.isfinite(seen.passes[0].loss):
        return _skip("The loss is not finite: see P07.")
    trials = {"the optimizer": seen.own, **{f"Adam with η = {lr:g}": trial for lr, trial in seen.reference.items()}}
    tried = {name: trial for name, trial in trials.items() if trial is not None}
    name, best = min(tried.items(), key=lambda item: item[1].left)
    steps = min((len(t.losses) - 1 for t in tried.values() if t.left < math.inf), default=TRIAL)
    if not best.left <= 0.5 and steps < TRIAL:
        return _skip(f"Steps take so long that {steps} were made of {TRIAL}: too few to tell.")
    if not best.left <= 0.5:
        return (
            "fail" if not best.left <= 0.9 else "warn",
            f"On one batch {name} takes the loss {_course(best)}; half is wanted, and other η do no better.",
            "Look at what reaches the loss: labels of other rows, outputs cut off from the weights, an output through "
            "ReLU or a second softmax, a loss of the wrong sign.",
        )
    said = f"On one batch {name} takes the loss {_course(best)}"
    if seen.own is not None and not seen.own.left <= 0.995:
        return (
            "fail" if not seen.own.left <= 1 else "warn",
            f"{said}; the optimizer as it is set {_course(seen.own)}.",
            "The model can learn: lower η." if not seen.own.left <= 1 else "The model can learn: raise η.",
        )
    return _fine(
        f"{said}" + (f"; the optimizer, as it is set, {_course(seen.own)}." if seen.own not in (best, None) else ".")
    )


def _course(trial: Trial) -> str:
    last = min(trial.losses[-3:]) if math.isfinite(trial.losses[-1]) else trial.losses[-1]
    return f"from {trial.losses[0]:.3g} to {last:.3g} in {_n(len(trial.losses) - 1, 'step')}"


# -- optimizer -------------------------------------------------------------------------------------------------------

_NO_OPTIMIZER = "There is no optimizer."


def _adaptive(seen: Seen) -> bool:
    return any(kind.__name__ in ADAPTIVE for kind in type(seen.setup.optimizer).__mro__)


@_check("P14", "coverage")
def coverage(seen: Seen) -> Verdict:
    """Parameters outside the optimizer, or an optimizer of other parameters."""
    if seen.setup.optimizer is None:
        return _skip(_NO_OPTIMIZER)
    held = {id(p) for group in seen.setup.groups for p in group["params"]}
    left_out = [role.names[0] for role in seen.roles if id(role.param) not in held]
    own = {id(p) for p in seen.setup.model.parameters()}
    strange = sum(p not in own for p in held)
    if strange:
        return (
            "fail",
            f"{_n(strange, 'parameter')} of {len(held)} in the optimizer {_are(strange)} not the model's"
            + (f", and {len(left_out)} of the model's are not in it." if left_out else "."),
            "Make the optimizer after the model has its final parameters: after .to(), after replacing layers.",
        )
    if left_out:
        return (
            "fail",
            f"{_n(len(left_out), 'parameter')} of {len(seen.roles)} {_are(len(left_out))} not in the "
            f"optimizer: {_some(left_out)}.",
            "Add them to it, or freeze them: requires_grad_(False).",
        )
    frozen = len(held) - len(seen.roles)
    return _fine(f"All {len(seen.roles)} parameters" + (f", and {frozen} frozen ones." if frozen else "."))


@_check("P15", "learning-rate")
def learning_rate(seen: Seen) -> Verdict:
    """An η so large that the first step throws the weights away, or so small that the run cannot move them."""
    if seen.rates is None:
        return _skip(_NO_OPTIMIZER if seen.setup.optimizer is None else "The optimizer has no η.")
    peak = seen.rates.peak
    if not (math.isfinite(peak) and peak > 0):
        return "fail", f"η is {peak:g} at its largest.", "Give one above 0, as 1e-3 for Adam; adamas race finds one."
    if seen.own is None or not seen.own.ratios:
        return _skip(f"η is {peak:g} at its largest; no weight from which to measure.")
    ratio = sorted(seen.own.ratios)[len(seen.own.ratios) // 2]
    said = f"η is {peak:.3g} at its largest, where the first step changes the weights by {ratio:.2g} of their size"
    if ratio > 0.2:
        return (
            "fail" if not ratio <= 1 else "warn",
            f"{said}; up to 0.2 is fine.",
            f"Lower η to about {peak * 0.02 / ratio:.1g}." if math.isfinite(ratio) else "Lower η.",
        )
    if seen.setup.steps is not None and seen.rates.whole:
        mean = sum(seen.rates.values) / len(seen.rates.values)
        reach = ratio * seen.setup.steps * mean / peak
        said += f"; {seen.setup.steps:,} steps can take them {reach:.2g} of it"
        if reach < 0.02:
            return (
                "warn",
                f"{said}, and 0.02 at least is wanted.",
                f"Raise η to about {peak * 0.02 / max(reach, 1e-12):.1g}, or train longer."
                if reach
                else "Raise η, or train longer.",
            )
    elif ratio < 1e-6:
        return "warn", f"{said}; from 1e-6 on is fine.", f"Raise η to about {peak * 1e-3 / max(ratio, 1e-12):.1g}."
    return _fine(f"{said}.")


_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@_check("P16", "warm-up")
def warm_up(seen: Seen) -> Verdict:
    """No warm-up where one is wanted, one that does nothing at step 1, or one that takes up the run."""
    rates, steps = seen.rates, seen.setup.steps
    if rates is None or not (math.isfinite(rates.peak) and rates.peak > 0):
        return _skip(_NO_OPTIMIZER if rates is None else "η is never above 0: see P15.")
    attends = any(isinstance(m, _ATTENTION) or "Attention" in type(m).__name__ for m in seen.setup.model.modules())
    if seen.setup.schedule is not None and (steps is None or len(rates.values) < 2):
        return _skip("Without the number of steps the schedule cannot be followed.")
    warmup = rates.warmup
    if steps is not None and warmup >= steps > 1:
        return (
            "fail",
            f"η still rises at step {steps:,}, the last: it comes to {rates.peak:g}.",
            f"Warm up for a tenth of the run, {max(1, steps // 10):,} steps.",
        )
    if steps is not None and warmup > 0.4 * steps:
        return (
            "warn",
            f"η rises for {warmup:,} of {steps:,} steps; up to 0.4 of them is fine.",
            f"Warm up for a tenth of the run, {max(1, steps // 10):,} steps.",
        )
    if rates.values[0] == 0:
        return "warn", "η is 0 at step 1, which does nothing.", "Begin with η/warm-up: factor (t + 1)/warm-up at t = 0."
    if not warmup and attends and _adaptive(seen) and "RAdam" not in type(seen.setup.optimizer).__name__:
        beta2 = next((g["betas"][1] for g in seen.setup.groups if "betas" in g), 0.999)
        wanted = round(2 / (1 - beta2)) if beta2 < 1 else 1000
        wanted = max(1, min(wanted, steps // 10)) if steps else wanted
        return (
            "warn",
            "η begins at its largest, in a network with attention.",
            f"Raise it from 0 over {wanted:,} steps: 2/(1 − β₂), but no more than a tenth of the run.",
        )
    return _fine(
        f"η rises for {warmup:,} steps." if warmup else "η begins at its largest; nothing here needs a warm-up."
    )


@_check("P17", "schedule-length")
def schedule_length(seen: Seen) -> Verdict:
    """A schedule that is longer or shorter than the run, or of another optimizer."""
    setup, rates = seen.setup, seen.rates
    if setup.schedule is None or rates is None:
        return _skip("There is no schedule.")
    driven = getattr(setup.schedule, "optimizer", setup.optimizer)
    if driven is not setup.optimizer:
        return (
            "fail",
            "The schedule was made for another optimizer: this one's η stays.",
            "Make the schedule after the optimizer, and from it.",
        )
    if setup.steps is None or len(rates.values) < 2:
        return _skip(
            "Without the number of steps, or with a schedule that waits for a loss, there is nothing to compare."
        )
    steps, values, peak = rates.steps, rates.values, rates.peak
    if bad := [(t, v) for t, v in zip(steps, values, strict=True) if not (math.isfinite(v) and v >= 0)]:
        return "fail", f"η is {bad[0][1]:g} at step {bad[0][0]:,}.", "Let it end at 0 or above, with the run."
    if not peak:
        return _skip("η is never above 0: see P15.")
    if not rates.whole:
        if isinstance(setup.schedule, lr_scheduler.OneCycleLR):
            return (
                "fail",
                f"The schedule ends at step {setup.schedule.total_steps:,}, and the run at {setup.steps:,}.",
                f"Make it {setup.steps:,} steps long.",
            )
        return _skip(f"η was followed for {steps[-1]:,} of {setup.steps:,} steps only, for lack of time.")
    idle = next(i for i in range(len(values), -1, -1) if i == 0 or values[i - 1] >= 1e-3 * peak)
    share = (len(values) - idle) / len(values)
    if share > 0.05:
        return (
            "fail" if share > 0.2 else "warn",
            f"From step {steps[idle]:,} of {setup.steps:,} on η is below a thousandth of its peak: {share:.0%} of the "
            "run does nothing.",
            f"Make the schedule {setup.steps:,} steps long, in steps of the optimizer and not in epochs.",
        )
    last, low = values[-1], 0
    for i in range(values.index(peak), len(values)):
        low = i if values[i] <= 0.1 * peak else low
        if low and values[i] >= 0.3 * peak and "Cyclic" not in type(setup.schedule).__name__:
            if i - low == 1 and last <= 0.3 * peak:
                low = 0  # a restart, and the last cycle ends where it should
                continue
            return (
                "warn",
                f"η has fallen to {values[low] / peak:.2g} of its peak by step {steps[low]:,} and rises again, to "
                f"{last / peak:.2g} at the last step, {setup.steps:,}.",
                f"Make the schedule {setup.steps:,} steps long, or end a cycle with the run.",
            )
    tail = values[-max(2, len(values) // 10) :]
    falling = sum(b < a for a, b in pairwise(tail))
    if last > 0.7 * peak and falling > len(tail) // 2:
        return (
            "warn",
            f"The run ends at step {setup.steps:,} while η still falls, at {last / peak:.2g} of its peak.",
            f"Make the schedule {setup.steps:,} steps long.",
        )
    return _fine(f"η ends at {last / peak:.2g} of its peak, at step {setup.steps:,}.")


@_check("P18", "averaging")
def averaging(seen: Seen) -> Verdict:
    """Averages that reach further back than the run is long, or a β₁ too large for β₂."""
    if seen.setup.optimizer is None:
        return _skip(_NO_OPTIMIZER)
    rates: dict[str, float] = {}
    for group in seen.setup.groups:
        for name, value in zip(("β₁", "β₂"), group.get("betas") or (), strict=False):
            rates[name] = max(rates.get(name, 0.0), float(value))
        for name in ("momentum", "alpha"):
            if isinstance(group.get(name), float) and (name != "alpha" or "momentum" in group):
                rates[name] = max(rates.get(name, 0.0), group[name])
    rates = {name: value for name, value in rates.items() if 0 < value < 1}
    if not rates:
        return _skip("The optimizer averages nothing.")
    if rates.get("β₁", 0.0) ** 2 >= rates.get("β₂", 1.0):
        return (
            "fail",
            f"β₁² = {rates['β₁'] ** 2:.4g} is not below β₂ = {rates['β₂']:.4g}: no bound holds for the size of a step.",
            "Take β₁ = 0.9 and β₂ = 0.999, or 0.95 for a short run.",
        )
    name, rate = max(rates.items(), key=lambda item: item[1])
    horizon, steps = 1 / (1 - rate), seen.setup.steps
    said = f"{name} = {rate:.5g} averages over {horizon:,.0f} steps"
    if steps is None:
        return _skip(f"{said}; how long the run is, is not known.")
    if horizon > steps:
        wanted = max(0.9, 1 - 10 / steps)
        return "warn", f"{said}, and the run has {steps:,}.", f"Take {name} = {wanted:.3g}, or train longer."
    return _fine(f"{said} of {steps:,}.")


@_check("P19", "decay-groups")
def decay_groups(seen: Seen) -> Verdict:
    """Decay on biases, norms and embeddings."""
    if seen.setup.optimizer is None:
        return _skip(_NO_OPTIMIZER)
    decayed = {id(p) for g in seen.setup.groups if g.get("weight_decay") for p in g["params"]}
    if not decayed:
        return _skip("There is no weight decay.")
    wrong = [role for role in seen.roles if id(role.param) in decayed and not role.decays]
    if wrong:
        return (
            "warn",
            f"{_n(len(wrong), 'parameter')} of {len(decayed)} that decay {_are(len(wrong))} none that should: "
            f"{_some([f'{role.names[0]} ({role.kind})' for role in wrong])}.",
            "Give the optimizer adamas.torch.decay_groups(model, weight_decay=…) instead of model.parameters().",
        )
    return _fine(f"{_n(len(decayed), 'weight')} decay, and no bias, norm or embedding.")


@_check("P20", "coupled-decay")
def coupled_decay(seen: Seen) -> Verdict:
    """Decay that goes through the moments of an adaptive rule."""
    if seen.setup.optimizer is None:
        return _skip(_NO_OPTIMIZER)
    largest = max((float(g.get("weight_decay") or 0) for g in seen.setup.groups), default=0.0)
    if not largest:
        return _skip("There is no weight decay.")
    name = type(seen.setup.optimizer).__name__
    if not _adaptive(seen):
        return _skip(f"{name} is no adaptive rule of those that are known.")
    if name != "Adafactor" and any(
        g.get("weight_decay") and not g.get("decoupled_weight_decay", False) for g in seen.setup.groups
    ):
        how = "AdamW" if name == "Adam" else f"{name} with decoupled_weight_decay=True, or AdamW"
        return (
            "warn",
            f"λ = {largest:g} goes into the gradient of {name}, which divides it by √v: weights of large gradients "
            "hardly decay.",
            f"Take {how}; and a λ anew, as 0.01.",
        )
    return _fine(f"λ = {largest:g} acts on the weights themselves.")


@_check("P21", "clipping")
def clipping(seen: Seen) -> Verdict:
    """A recurrent network without clipping."""
    recurrent = [
        n or type(m).__name__ for n, m in seen.setup.model.named_modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)
    ]
    clip, norm = seen.setup.clip, max(p.norm for p in seen.passes)
    said = f"the norm of the gradients is {norm:.3g} at the start"
    if clip is None and recurrent:
        return (
            "warn",
            f"{_some(recurrent)} {_are(len(recurrent))} recurrent, and gradients are not clipped; {said}.",
            "Clip their norm to 1: optimizers of adamas.torch take clip_grad_norm=1.0. Say so if the loop does it.",
        )
    if clip is None:
        return _skip("Nothing is recurrent, and nothing is clipped.")
    return _fine(f"To {clip:g}; {said}.")


# -- the run ---------------------------------------------------------------------------------------------------------


@_check("P22", "mixed-precision")
def mixed_precision(seen: Seen) -> Verdict:
    """float16 without a scaler of the loss, or with weights in it."""
    weights = {role.param.dtype for role in seen.roles}
    used = weights.union(*(p.dtypes for p in seen.passes))
    scaler = seen.setup.scaler
    scales = scaler is not None and (not hasattr(scaler, "is_enabled") or bool(scaler.is_enabled()))
    if torch.float16 in weights:
        return (
            "fail",
            "Weights are float16: steps below a two-thousandth of a weight are lost, and gradients below 6e-8.",
            "Keep the weights in float32 and compute under torch.autocast with a GradScaler.",
        )
    if torch.float16 in used:
        if not scales:
            return (
                "fail",
                "The forward pass computes in float16, and there is no GradScaler: gradients below 6e-8 become 0.",
                "Scale the loss by torch.amp.GradScaler, or compute in bfloat16.",
            )
        return _fine("float16 with a scaler.")
    if scales:
        return "warn", "There is a GradScaler, and nothing computes in float16.", "Leave it out; bfloat16 needs none."
    if torch.bfloat16 in used:
        return _fine("bfloat16, which needs no scaler.")
    return _skip("Nothing computes in less than float32.")


@_check("P23", "validation")
def validation(seen: Seen) -> Verdict:
    """No measure on data not trained on, or one that gives no number."""
    if seen.setup.validate is None:
        return (
            "warn",
            "There is no validation: nobody will notice overfitting.",
            "Hold a tenth of the data back, and give validate(model) -> number.",
        )
    metric = seen.metric
    if isinstance(metric, Exception):
        said = " ".join(str(metric).split())
        return "fail", f"validate() raised {type(metric).__name__}: {said}", "Mend it, or the run ends there."
    try:
        number = float(metric)
    except (TypeError, ValueError):
        return "fail", f"validate() returned a {type(metric).__name__}.", "Return one number."
    if not math.isfinite(number):
        return "fail", f"validate() returned {number}.", "Look for an empty validation set, or a division by 0."
    return _fine(f"validate() gives {number:.4g} before training.")


@_check("P24", "stop-rule")
def stop_rule(seen: Seen) -> Verdict:
    """Nothing that says when training is over."""
    rules = [f"after {seen.setup.steps:,} steps"] if seen.setup.steps is not None else []
    rules += [f"by {type(seen.setup.stopping).__name__}"] if seen.setup.stopping is not None else []
    if not rules:
        return (
            "warn",
            "Nothing says when training is over.",
            "Set steps, or stop when validation has not improved for long.",
        )
    return _fine(f"Training ends {', or '.join(rules)}.")


def judged(seen: Seen, checks: Iterable[Callable[[Seen], Result]] = CHECKS) -> tuple[Result, ...]:
    """What every check says of what was seen."""
    return tuple(sorted((check(seen) for check in checks), key=lambda result: result.code))
