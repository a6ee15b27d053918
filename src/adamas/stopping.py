"""Early stopping: when a validation value has not improved for long enough, and back to where it was best.

>>> import numpy as np
>>> from adamas.numpy import SGD
>>> theta = np.zeros(1)
>>> opt = SGD(theta, lr=0.5)
>>> stopper = EarlyStopping(patience=2, keep={"theta": theta})
>>> for epoch in range(100):
...     opt.step(theta - 3)
...     if stopper.update(abs(theta[0] - 2)):
...         break
>>> stopper.reason
'2 checks without an improvement on 0.25 of check 2.'
>>> stopper.restore(), theta.tolist()
(2, [2.25])
"""

import copy
import math
import os
import re
import sys
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from adamas import checkpoint
from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import whole

#: What `EarlyStopping.cause` may be, beside "".
CAUSES = ("patience", "divergence", "nonfinite")

#: What a state dict holds beside "kept".
_PROGRESS = ("mode", "checks", "waited", "best", "best_check", "cause", "reason")

_FILE = re.compile(r"step-(\d+)\.safetensors")

#: How many of the files that state dicts have named are kept: as many as `adamas.checkpoint` keeps of a run.
_NAMED = 3


class EarlyStopping:
    """Watches a value, one check after the other, and says when to stop, and why.

    A check is one call of `update`: one epoch, or however often the value is measured. docs/early-stopping.md compares
    each option with those of Lightning, Keras, scikit-learn and Hugging Face.

    Args:
        patience: how many checks in a row without an improvement are one too many: the run stops at the last of them.
        mode: "min" or "max", what is better.
        min_delta: by more than this the value must get better to improve on the best.
        relative: whether ``min_delta`` is a share of the best's magnitude.
        warmup: how many checks to let pass first: they are neither an improvement nor the lack of one.
        check_finite: whether to stop at once at a value that is infinite or NaN, in the warm-up too. Otherwise NaN is
            no improvement.
        divergence_threshold: stop at once at a value worse than this, after the warm-up.
        keep: what to keep as it was at the best check, so that `restore` can bring it back: parts, each under a name,
            as `adamas.checkpoint.save` takes them (models, optimizers, arrays, …).
        folder: keep it in files there, of `adamas.checkpoint`; None keeps it in memory. A file is removed when it is
            neither the best's nor among the last three that `state_dict` has named, so that a run which is taken up
            again from an earlier checkpoint finds its best. Give each run a folder for this alone.

    Attributes:
        checks: how many there were.
        waited: how many of the last ones were without improvement.
        best: the best value that was an improvement; infinite before there was one.
        best_check: the check it is of, from 1; 0 where there was none.
        improved: whether the last check was an improvement.
        cause: "" while there is no reason to stop; then "patience", "divergence" or "nonfinite".
        reason: the same in a sentence.

    Raises:
        InputError: for a value that cannot be.
    """

    def __init__(
        self,
        patience: int,
        *,
        mode: str = "min",
        min_delta: float = 0.0,
        relative: bool = False,
        warmup: int = 0,
        check_finite: bool = True,
        divergence_threshold: float | None = None,
        keep: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.patience = whole("patience", patience, 1)
        if mode not in ("min", "max"):
            raise InputError(f"Invalid mode value: {mode!r}: it must be 'min' or 'max'.")
        self.mode = mode
        if not 0 <= _real("min_delta", min_delta) < math.inf:
            raise InputError(f"Invalid min_delta value: {min_delta}: it must be a finite number, 0 or more.")
        self.min_delta = float(min_delta)
        self.relative = _flag("relative", relative)
        self.warmup = whole("warmup", warmup, 0)
        self.check_finite = _flag("check_finite", check_finite)
        if divergence_threshold is not None and math.isnan(_real("divergence_threshold", divergence_threshold)):
            raise InputError("Invalid divergence_threshold value: nan: it must be a number, or None.")
        self.divergence_threshold = divergence_threshold
        self.keep = _parts(keep)
        if folder is not None and not self.keep:
            raise InputError(f"There is nothing to keep in {folder}: say what by keep={{'model': model}}.")
        self.folder = None if folder is None else Path(folder)
        self._sign = 1.0 if mode == "min" else -1.0
        self.checks, self.waited = 0, 0
        self.best, self.best_check = self._sign * math.inf, 0
        self.improved = False
        self.cause, self.reason = "", ""
        self._kept: dict[str, Any] | None = None
        self._file = ""  # in the folder, that holds the best
        self._named: list[str] = []  # by the last state dicts
        self._files: set[str] = set()  # all that are there, as far as they are of this run

    @property
    def stopped(self) -> bool:
        """Whether the run is to stop."""
        return bool(self.cause)

    def update(self, value: Any) -> bool:
        """Take in the value of one check.

        Args:
            value: a number, or an array or tensor of one element.

        Returns:
            Whether to stop. Once it is True it stays, and further values change nothing.

        Raises:
            InputError: for what is no number, or where the parameters hold averages that would be kept in their place.
        """
        number = _value(value)
        self._refuse_averages("update")
        if self.stopped:
            return True
        improved, cause = self._judge(number)
        if improved:
            self._keep(self.checks + 1)  # which may fail: nothing is changed so far
            self.best, self.best_check = number, self.checks + 1
        self.checks += 1
        self.improved = improved
        self.waited = 0 if improved or self.checks <= self.warmup else self.waited + 1
        if not cause and self.waited >= self.patience:
            cause = "patience"
        if cause:
            self._stop(cause, number)
        return self.stopped

    def restore(self) -> int | None:
        """Bring everything in ``keep`` back to how it was at the best check, wholly or not.

        Returns:
            The number of that check; None, with nothing changed, where there was none.

        Raises:
            InputError: where nothing was kept, what was kept is gone or does not fit, or the parameters hold averages.
        """
        if not self.keep:
            raise InputError("There is nothing to restore: say what is to be kept by keep={'model': model}.")
        if not self.best_check:
            return None
        self._refuse_averages("restore")
        if self.folder is None:
            if self._kept is None:
                raise InputError(
                    f"What was kept at check {self.best_check} is not in memory: load_state_dict() was given a dict "
                    "without it."
                )
            checkpoint.restore(self.keep, copy.deepcopy(self._kept), f"what was kept at check {self.best_check}")
        else:
            path = self.folder / self._file
            if not path.is_file():
                raise InputError(f"{path}, with what was kept at check {self.best_check}, is gone.")
            checkpoint.load(path, random=False, **self.keep)
        return self.best_check

    def state_dict(self) -> dict[str, Any]:
        """How far it has come, and what is kept in memory: `adamas.checkpoint.save` and `torch.save` take it."""
        if self._file not in ("", *self._named[-1:]):
            self._named = [*self._named, self._file][-_NAMED:]
        progress = {name: getattr(self, name) for name in _PROGRESS}
        return {**progress, "kept": copy.deepcopy(self._kept), "files": list(self._named)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict. The options stay those of this object: a longer patience takes back a stop for want
        of it.

        Raises:
            InputError: where it is no such dict, or one of the other mode; nothing is changed.
        """
        given: Any = state_dict
        if not isinstance(given, Mapping):
            raise InputTypeError(f"The state dict of early stopping is a {type(given).__name__}: give a dict.")
        if missing := [name for name in (*_PROGRESS, "kept", "files") if name not in given]:
            raise InputError(f"The state dict of early stopping lacks {missing[0]!r}: give what state_dict() returned.")
        if given["mode"] != self.mode:
            raise InputError(f"The state dict is of mode {given['mode']!r}, and this is of mode {self.mode!r}.")
        for name in ("checks", "waited", "best_check"):
            whole(name, given[name], 0)
        _real("best", given["best"])
        cause, reason, kept = given["cause"], given["reason"], given["kept"]
        if cause not in ("", *CAUSES):
            raise InputError(f"Invalid cause value: {cause!r}: it must be '' or one of {', '.join(CAUSES)}.")
        if kept is not None and set(kept) != set(self.keep):
            raise InputError(
                f"The state dict has kept {', '.join(sorted(kept)) or 'nothing'}, and keep names "
                f"{', '.join(sorted(self.keep)) or 'nothing'}: give the same parts."
            )
        files = given["files"]
        if not (isinstance(files, list) and all(_FILE.fullmatch(str(name)) for name in files)):
            raise InputError(
                f"Invalid files value: {files!r}: it must be a list of names as step-00000001.safetensors."
            )
        if cause == "patience" and given["waited"] < self.patience:
            cause, reason = "", ""
        kept = None if self.folder is not None else copy.deepcopy(kept)
        own = {name: given[name] for name in ("checks", "waited", "best", "best_check")}
        there = set(self._numbers().values())
        new = {"_kept": kept, "_file": files[-1] if files else "", "_named": list(files), "_files": there}
        vars(self).update(own, cause=cause, reason=reason, improved=False, **new)

    def _judge(self, number: float) -> tuple[bool, str]:
        """Whether a value is an improvement, and a cause to stop at once."""
        if self.check_finite and not math.isfinite(number):
            return False, "nonfinite"
        if self.checks < self.warmup:
            return False, ""
        threshold = self.divergence_threshold
        if threshold is not None and self._sign * number > self._sign * threshold:
            return False, "divergence"
        share = abs(self.best) if self.relative and math.isfinite(self.best) else 1.0
        return self._sign * number + self.min_delta * share < self._sign * self.best, ""

    def _stop(self, cause: str, number: float) -> None:
        where = f"at check {self.checks}"
        best = f"the best was {self.best:.6g} of check {self.best_check}" if self.best_check else "there was no best"
        if cause == "nonfinite":
            reason = f"The value {number} {where} is not finite; {best}."
        elif cause == "divergence":
            threshold = f"the threshold of {self.divergence_threshold:g}"
            reason = f"The value {number:.6g} {where} is worse than {threshold}; {best}."
        else:
            since = f"on {self.best:.6g} of check {self.best_check}" if self.best_check else "from the start"
            by = f" by more than {self.min_delta:g}{' of it' if self.relative else ''}" if self.min_delta else ""
            checks = f"{self.waited} checks" if self.waited > 1 else "One check"
            reason = f"{checks} without an improvement {since}{by}."
        self.cause, self.reason = cause, reason

    def _keep(self, check: int) -> None:
        if not self.keep:
            return
        if self.folder is None:
            self._kept = checkpoint.copied(self.keep)
            return
        # A run that was taken up again from an earlier check finds files of its future.
        number = max(check, 1 + max(self._numbers(), default=0))
        path = checkpoint.save(self.folder, number, keep=sys.maxsize, random=False, **self.keep)
        old = self._files - {path.name, *self._named}
        self._file, self._files = path.name, (self._files - old) | {path.name}
        for name in old:
            (self.folder / name).unlink(missing_ok=True)

    def _numbers(self) -> dict[int, str]:
        """The checkpoints in the folder: number -> name."""
        names = [] if self.folder is None else [path.name for path in self.folder.glob("step-*.safetensors")]
        return {int(found[1]): name for name in names if (found := _FILE.fullmatch(name))}

    def _refuse_averages(self, what: str) -> None:
        """Averages in the place of weights would be taken for them, and overwritten when the weights come back."""
        if any(getattr(part, "is_averaged", False) for part in self.keep.values()):
            raise InputError(
                f"The parameters hold their averages: {what} after `with opt.averaged()`, not inside. Only the "
                "measuring belongs there."
            )


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"Invalid {name} value: {value!r}: it must be a number.")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputTypeError(f"Invalid {name} value: {value!r}: it must be True or False.")
    return value


def _parts(keep: Any) -> dict[str, Any]:
    if keep is None:
        return {}
    if not isinstance(keep, Mapping) or not keep or not all(isinstance(name, str) for name in keep):
        raise InputTypeError(f"Invalid keep value: {keep!r}: it must be a dict of parts, as keep={{'model': model}}.")
    parts = dict(keep)
    for name, part in parts.items():
        if name in ("step", "keep", "random"):
            raise InputError(f"A part cannot be called {name!r}: give it another name.")
        checkpoint.refuse_unless_part(name, part)
    return parts


def _value(value: Any) -> float:
    """The number that somebody measured."""
    item = value
    if hasattr(value, "item"):
        if math.prod(value.shape) != 1:
            raise InputError(f"The value has shape {tuple(value.shape)}: it must be one number.")
        item = value.item()
    if isinstance(item, bool) or not isinstance(item, Real):
        raise InputTypeError(f"The value is {item!r}: it must be a number.")
    return float(item)
