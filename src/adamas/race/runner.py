"""Many trials at once, each kept as soon as it is done; stops cleanly on Ctrl-C and at the deadline."""

import signal
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool

from adamas.problems.base import Problem
from adamas.race.around import PLAIN, Around
from adamas.race.drive import Cut, Stop, run
from adamas.race.entrants import Entrant
from adamas.race.progress import Progress
from adamas.race.trials import Outcome, Store, Trial


class Stopped(Exception):
    """The race ends before its time; the message says why."""


_problems: dict[str, Problem] = {}


def _work(problem_file: str, entrant: Entrant, trial: Trial, stop: Stop, around: Around) -> Outcome | None:
    """In a worker: one trial; None if it was cut short. The problem is read once in a process."""
    if stop.due:
        return None
    if problem_file not in _problems:
        _problems[problem_file] = joblib.load(problem_file)
    try:
        return run(_problems[problem_file], entrant, trial, stop, around)
    except Cut:
        return None


@contextmanager
def _heeding(stop: Stop) -> Generator[None]:
    """Within it, Ctrl-C asks the trials to stop; a second one interrupts as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(signum: int, frame: FrameType | None) -> None:
        stop.ask()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _deaf() -> Generator[None]:
    """Processes begun in here ignore Ctrl-C for good: it is for the race to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Runner:
    """Runs trials that are not in the store yet.

    Args:
        jobs: trials at once; the results do not depend on it.
        deadline: seconds since the epoch when no more is begun, or None.
        around: what is done around the steps of every trial.
    """

    def __init__(
        self,
        problem: Problem,
        entrants: Iterable[Entrant],
        store: Store,
        jobs: int,
        deadline: float | None,
        progress: Progress,
        around: Around = PLAIN,
    ) -> None:
        self._entrants = {e.identity: e for e in entrants}
        self._store, self._jobs, self._progress = store, jobs, progress
        self._around = around
        self._folder = tempfile.TemporaryDirectory(prefix="adamas-race-")
        self._file = str(Path(self._folder.name) / "problem")
        joblib.dump(problem, self._file)
        self._stop = Stop(Path(self._folder.name) / "stop", deadline)

    def close(self) -> None:
        """Forget the problem; the workers end by themselves."""
        _problems.pop(self._file, None)
        self._folder.cleanup()

    def __getitem__(self, trial: Trial) -> Outcome:
        return self._store.outcomes[trial]

    def run(self, phase: str, trials: Iterable[Trial]) -> None:
        """Have all of `trials` done.

        Raises:
            Stopped: on Ctrl-C or at the deadline; what was finished is kept.
        """
        wanted = [t for t in dict.fromkeys(trials) if t not in self._store.outcomes]
        if not wanted:
            return
        with self._progress.phase(phase, len(wanted)) as advance, _heeding(self._stop), warnings.catch_warnings():
            # A worker that has grown by 300 MB, as one does that imports torch for its second trial, is replaced by
            # joblib. That loses nothing; and where warnings are errors, the thread that says so would die of it.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            results: Any = None
            try:
                with _deaf():
                    results = self._parallel(wanted)
                for outcome in results:
                    if outcome is not None:
                        self._store.add(outcome)
                        advance(outcome)
            except KeyboardInterrupt:
                if results is not None:
                    results.close()
                raise Stopped("interrupted") from None
            except BrokenProcessPool:
                raise Stopped("a worker process died, perhaps for lack of memory") from None
        if self._stop.due:
            raise Stopped("the time given was up" if self._stop.late else "interrupted")

    def _parallel(self, trials: list[Trial]) -> Any:
        work = joblib.delayed(_work)
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            parallel: Any = joblib.Parallel  # its stubs say batch_size is a str
            return parallel(n_jobs=self._jobs, batch_size=1, return_as="generator_unordered")(
                work(self._file, self._entrants[t.optimizer], t, self._stop, self._around) for t in trials
            )
