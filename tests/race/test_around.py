"""What a race does around the steps: the schedule of η, clipping, early stopping, the switch; and racing recipes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from adamas import recipes
from adamas.cli import main
from adamas.errors import InputError
from adamas.problems import load
from adamas.problems.base import Measure, Problem, Training
from adamas.race import race
from adamas.race.around import Around
from adamas.race.drive import LOOKS, run
from adamas.race.entrants import enter, enter_recipe
from adamas.race.trials import Trial
from adamas.schedules import constant, cosine, linear, one_cycle, warmup

EXAMPLES = Path(__file__).parents[2] / "examples"

SPY = """
import torch

seen = []

class Spy(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    def step(self, closure=None):
        for group in self.param_groups:
            norm = torch.cat([p.grad.flatten() for p in group["params"]]).norm().item()
            with torch.no_grad():
                for p in group["params"]:
                    p -= group["lr"] * p.grad
        seen.append((self.param_groups[0]["lr"], self.param_groups[0]["betas"][0], norm))
"""


@pytest.fixture
def spy(tmp_path, monkeypatch):
    """What the optimizer of a trial met at each step: (η, β₁, norm of the gradients)."""
    path = tmp_path / "spy.py"
    path.write_text(SPY)
    entrant = enter(f"{path}:Spy")

    def met(problem, around, steps=50, lr=0.02):
        cls = entrant.load()
        seen = vars(__import__("sys").modules[cls.__module__])["seen"]
        run(problem, entrant, Trial(entrant.identity, lr, 0, 2), around=around)  # which is two trials, the first time
        seen.clear()
        run(problem, entrant, Trial(entrant.identity, lr, 0, steps), around=around)
        return np.array(seen)

    return met


class Told(Problem):
    """Its looks find what it was told, whatever is done to its parameter, whose gradient is always `grad`."""

    name, about, front, steps = "told", "", "numpy", LOOKS

    def __init__(self, looks, higher=False, grad=1.0):
        self.looks, self.grad, self.measure = looks, grad, Measure("value", higher, "second")

    def begin(self, seed):
        return _Told(self)


class _Told(Training):
    def __init__(self, problem):
        self.parameters = {"x": np.zeros(2)}
        self.gradients = {"x": np.array([3.0, 4.0]) * problem.grad}
        self._looks = iter(problem.looks)

    def backward(self):
        return 1.0

    def validate(self):
        value = next(self._looks, 9.0)
        return value, 10 * value


def outcome(problem, name="adam", **options):
    return run(problem, enter(name), Trial(name, 0.1, 0, LOOKS), around=Around(**options))


# -- the schedule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "constant"}, constant()),
        ({"schedule": "cosine"}, cosine(50)),
        ({"schedule": "linear", "warmup": 5}, warmup(5) >> linear(45)),
        ({"warmup": 0.1}, warmup(5) >> constant()),
        ({"schedule": "wsd", "warmup": 0.1}, warmup(5) >> constant()[:36] >> linear(9)),
        ({"schedule": "warmup(4) >> step_decay(10) * cosine(20)"}, None),
        ({"schedule": "one_cycle"}, one_cycle(50)),
        ({"warmup": 60}, warmup(60)),  # a short trial of a search
    ],
)
def test_every_step_is_taken_at_its_own_eta(spy, options, expected):
    met = spy(load("digits"), Around(**options))
    expected = Around(**options).factor(50) if expected is None else expected
    steps = np.arange(50)
    np.testing.assert_array_equal(met[:, 0], 0.02 * expected(steps))
    np.testing.assert_array_equal(met[:, 1], 0.9 if expected.momentum is None else expected.momentum(steps))


def test_a_trial_of_a_quarter_of_the_length_has_the_whole_of_the_schedule(spy):
    around = Around(schedule="cosine", warmup=0.2)
    for steps in (20, 5, 1):
        met = spy(load("digits"), around, steps)
        whole = warmup(max(1, steps // 5)) >> cosine(steps - steps // 5) if steps > 1 else warmup(1)
        np.testing.assert_array_equal(met[:, 0], 0.02 * whole(np.arange(steps)))


@pytest.mark.parametrize("problem", ["digits", "digits-softmax"])
def test_our_rules_follow_the_schedule_as_their_fronts_do(problem):
    what = load(problem)
    around = Around(schedule="one_cycle")
    found = run(what, enter("adam"), Trial("adam", 0.01, 3, 20), around=around)
    training, factor = what.begin(3), one_cycle(20)
    if what.front == "numpy":
        import adamas.numpy

        opt = adamas.numpy.Adam(training.parameters, lr=0.01 * factor)
    else:
        import adamas.torch

        opt = adamas.torch.Adam(training.parameters, lr=0.01)
        scheduler = adamas.torch.schedule(opt, factor)
    for _ in range(20):
        training.backward()
        if what.front == "numpy":
            opt.step(training.gradients)
        else:
            opt.step()
            scheduler.step()
    assert found.metric == pytest.approx(training.validate()[0], rel=1e-6)


def test_momentum_is_moved_where_there_is_one_and_left_where_there_is_none():
    plain = run(load("digits-softmax"), enter("adagrad"), Trial("adagrad", 0.01, 0, 20), around=Around("one_cycle"))
    still = "one_cycle(20, momentum=None)"
    assert (
        plain.metric
        == run(load("digits-softmax"), enter("adagrad"), Trial("adagrad", 0.01, 0, 20), around=Around(still)).metric
    )


# -- clipping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["digits", "digits-softmax"])
def test_strangers_meet_clipped_gradients(spy, problem):
    free, clipped = spy(load(problem), Around()), spy(load(problem), Around(clip=0.1))
    assert free[:, 2].min() > 0.2
    np.testing.assert_allclose(clipped[:, 2], 0.1, rtol=1e-4)


def test_muons_two_optimizers_are_clipped_as_one(monkeypatch):
    norms = []
    real = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda ps, x: norms.append((len(ps), x)) or real(ps, x))
    run(load("digits"), enter("torch.optim.Muon"), Trial("torch.optim.Muon", 0.01, 0, 3), around=Around(clip=0.5))
    assert set(norms) == {(4, 0.5)}


def test_a_problems_own_gradient_is_not_clipped_in_place():
    problem = Told([1.0] * 30)
    training = problem.begin(0)
    problem.begin = lambda seed: training
    run(problem, enter("torch.optim.SGD"), Trial("torch.optim.SGD", 0.1, 0, 4), around=Around(clip=1.0))
    assert training.gradients["x"].tolist() == [3.0, 4.0]


def test_our_rules_clip_within_their_step():
    problem = Told([1.0] * 30)
    training = problem.begin(0)
    problem.begin = lambda seed: training
    run(problem, enter("sgd"), Trial("sgd", 0.1, 0, 4), around=Around(clip=1.0))
    # Six steps, two of them to warm up, of a gradient of norm 5 shortened to 1.
    np.testing.assert_allclose(training.parameters["x"], -0.1 * 6 * np.array([0.6, 0.8]), rtol=1e-5)


# -- early stopping ----------------------------------------------------------------------------------------------------


def test_a_trial_stops_after_so_many_looks_and_its_best_one_counts():
    found = outcome(Told([0.5, 3.0, 2.0, 1.0, 4.0, 1.5, 2.5, 0.1]), stop_early=3)
    assert (found.metric, found.second, found.diverged_at) == (1.0, 10.0, None)
    # The look before the first step is none of the trial's.
    assert [p.metric for p in found.curve] == [0.5, 3.0, 2.0, 1.0, 4.0, 1.5, 2.5] and found.curve[-1].step == 6


def test_higher_may_be_better_and_the_best_counts_without_a_stop_too():
    found = outcome(Told([0.0, *np.linspace(0.1, 0.9, 20), 0.3, 0.4, 0.5, 0.6, 0.7], higher=True), stop_early=9)
    assert found.metric == 0.9 and found.curve[-1].step == LOOKS


def test_a_run_that_diverges_before_it_is_stopped_has_diverged():
    found = outcome(Told([9.0, 1.0, 2.0, float("nan")]), stop_early=3)
    assert (found.metric, found.second, found.diverged_at) == (None, None, 3)
    # One that would have diverged after it was stopped has not.
    assert outcome(Told([9.0, 1.0, 2.0, float("nan")]), stop_early=1).metric == 1.0


# -- the switch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "note"),
    [
        ("at=7", "switched after step 7"),
        ("at=0.4", "switched after step 10"),
        ("plateau=3", "switched after step 7"),  # the looks after steps 4, 5 and 6 are no better than that after 3
        ("plateau=24", "never came to its switch"),
    ],
)
def test_rules_of_adams_kin_switch(switch, note):
    looks = [9.0, 3.0, 2.0, 1.0, 4.0, 1.5, 2.5, *[0.9 - 0.01 * i for i in range(30)]]
    assert outcome(Told(looks), switch=switch).note.startswith(note)
    turned = [-x for x in looks]
    assert outcome(Told(turned, higher=True), switch=switch).note.startswith(note)


def test_swats_waits_until_its_average_is_of_enough_steps():
    trial = Trial("adam", 0.1, 0, 1200)
    assert run(Told([1.0] * 30), enter("adam"), trial, around=Around(switch="swats=1e9")).note == (
        "switched after step 1000"  # 1/(1 − β₂)
    )


@pytest.mark.parametrize("name", ["sgd", "adagrad", "torch.optim.Adam"])
def test_others_race_without_and_it_is_said(name):
    problem = Told([1.0] * 30)
    assert outcome(problem, name, switch="at=7").note == "raced without the switch, which needs a rule of Adam's kin"


# -- recipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["general", "vision"])
def test_a_recipe_races_as_it_is_but_for_its_eta(name):
    what, entrant = load("digits"), enter_recipe(name)
    around = Around(schedule="linear", clip=1e-9, switch="at=3")  # which it leaves alone
    found = run(what, entrant, Trial(entrant.identity, 0.02, 3, 40), around=around)
    training = what.begin(3)
    recipe = getattr(recipes, name)(training.module, steps=40, batch_size=64)
    scheduler = recipe.schedule
    scheduler.base_lrs = [0.02] * 2
    for group in recipe.optimizer.param_groups:
        group["initial_lr"] = 0.02
        group["lr"] = 0.02 * recipe.factor(0)
    for _ in range(40):
        training.backward()
        recipe.optimizer.step()
        scheduler.step()
    assert found.metric == pytest.approx(training.validate()[0], rel=1e-6)
    assert "its own schedule" in found.note and "raced without the switch" in found.note
    assert ("clipping to 1" in found.note) == (name == "general")
    assert "lr=0.02," in recipe.code(0.02) and "lr=0.02," not in recipe.code()


def test_a_recipe_of_the_users_module_knows_its_batch_and_takes_none_of_it():
    what = load(str(EXAMPLES / "my_problem.py"))
    first, second = what.begin(0), what.begin(0)
    state = torch.random.get_rng_state()
    assert first.batch_size() == 32
    torch.random.set_rng_state(state)
    second_losses = [second.backward() for _ in range(3)]
    torch.random.set_rng_state(state)
    third = what.begin(0)
    torch.random.set_rng_state(state)
    assert third.batch_size() == 32
    assert [third.backward() for _ in range(3)] == second_losses


# -- whole races -------------------------------------------------------------------------------------------------------

ALL = {"schedule": "cosine", "warmup": 0.1, "clip": 1.0, "stop_early": 4, "switch": "at=0.5"}


def test_a_race_with_all_of_it_ends_with_table_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "race digits --optimizers adamw,torch.optim.SGD --lrs 0.01 --seeds 2 --steps 30 --jobs 1 --recipe general"
    options = [w for k, v in ALL.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    with pytest.raises(SystemExit) as exit:
        main([*words.split(), *options])
    out, err = capsys.readouterr()
    assert exit.value.code == 0, err
    assert "Every trial with --schedule cosine --warmup 0.1 --clip 1 --stop-early 4 --switch at=0.5." in err
    for part in (
        "median over seeds within 30 steps, η × warmup(3) >> cosine(27)",
        "its best one counts",
        "clipped to 1.",
        "gradient descent with momentum: at=0.5",
        "recipe-general: its own schedule",
        "adamw: switched after step 15",
        "In your own training",
        "stopper = EarlyStopping(4)",
        "scheduler.step()",
    ):
        assert part in out, out
    assert (tmp_path / "race" / "race.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "race" / "results.json").read_text())
    assert ALL.items() <= kept["settings"].items() and kept["settings"]["recipe"] == "general"
    assert {row["optimizer"] for row in kept["table"]} == {"adamw", "torch.optim.SGD", "recipe-general"}


def test_workers_do_it_too(tmp_path):
    arguments = {"lrs": [0.1, 0.3], "seeds": 2, "steps": 50, "schedule": "cosine", "stop_early": 2}
    here, there = (race("booth", ["sgd"], **arguments, jobs=j, output=tmp_path / str(j)) for j in (1, 2))
    plain = race("booth", ["sgd"], **{**arguments, "schedule": None, "stop_early": None}, jobs=1, output=tmp_path)
    results = [{o.trial: (o.metric, len(o.curve)) for o in r.outcomes} for r in (here, there, plain)]
    assert results[0] == results[1] and results[0].keys() == results[2].keys()
    assert all(results[0][trial] != results[2][trial] for trial in results[0])


@pytest.mark.parametrize(
    ("name", "problem"),
    [(n, p) for n in ("adamw", "sgd", "torch.optim.Muon") for p in ("digits", "digits-softmax")]
    + [("recipe", "digits")],
)
def test_the_winners_lines_do_what_the_race_did(tmp_path, name, problem):
    options = {**ALL, "switch": "plateau=2"} if name != "sgd" else ALL
    names = ["sgd"] if name == "recipe" else [name]
    extra = {"recipe": "general"} if name == "recipe" else {}
    result = race(problem, names, lrs=[0.01], seeds=1, steps=30, jobs=1, output=tmp_path, **options, **extra)
    lines = result.lines
    assert ("decay_groups(model" in lines) == (name == "recipe")
    assert ("late_switch=LateSwitch(plateau=2)" in lines) == (name == "adamw")
    what = load(problem)
    training = what.begin(0)
    told = []

    def validate():
        told.append(training.validate()[0])
        return told[-1]

    def gradient(params, batch):
        training.backward()
        return training.gradients

    class Loss:
        backward = staticmethod(lambda: training.backward())

    space = {
        "params": training.parameters, "batches": range(30), "gradient": gradient, "validate": validate,
        "loss": lambda model, batch: Loss, "model": training.module,
    }  # fmt: skip
    if training.module is None and name == "torch.optim.Muon":
        assert "clip_grad_norm_(model.parameters(), 1)" in lines
        compile(lines, "lines", "exec")
        return
    exec(lines, space)
    assert len(told) > 4 and told[-1] < what.begin(0).validate()[0]


def test_without_any_of_it_nothing_is_said_or_kept_of_it(tmp_path):
    result = race("bowl", ["sgd"], lrs=[0.1], seeds=1, steps=50, jobs=1, output=tmp_path)
    assert not {"recipe", *ALL} & set(result.summary["settings"])
    identity = json.loads((tmp_path / "trials.jsonl").read_text().splitlines()[0])["race"]
    assert set(identity) == {"problem", "target", "fingerprint", "steps", "versions"}
    assert race("bowl", ["sgd"], lrs=[0.1], seeds=1, jobs=1, output=tmp_path, resume=True).outcomes == result.outcomes


def test_resume_goes_on_with_the_same_around_it_alone(tmp_path):
    arguments = {"lrs": [0.1], "seeds": 1, "steps": 50, "jobs": 1, "output": tmp_path}
    begun = race("bowl", ["sgd"], **arguments, **ALL)
    assert race("bowl", ["sgd"], **arguments, **ALL, resume=True).outcomes == begun.outcomes
    for name, value in (("clip", 2.0), ("schedule", None), ("stop_early", 5), ("warmup", 3), ("switch", "at=2")):
        with pytest.raises(InputError, match=f"holds a race with {name} "):
            race("bowl", ["sgd"], **arguments, **{**ALL, name: value}, resume=True)
    race("bowl", ["sgd"], **arguments)
    with pytest.raises(InputError, match="holds a race with schedule None, which 'cosine' cannot continue"):
        race("bowl", ["sgd"], **arguments, schedule="cosine", resume=True)


def test_the_search_runs_the_recipe_at_etas_of_its_own(tmp_path):
    result = race(
        str(EXAMPLES / "my_problem.py"), ["adam"], recipe="general", seeds=1, steps=24, jobs=1, output=tmp_path
    )
    tried = {o.trial.lr for o in result.outcomes if o.trial.optimizer == "recipe-general"}
    assert len(tried) > 5
    assert len({o.metric for o in result.outcomes if o.trial.optimizer == "recipe-general"}) > 5


def test_it_travels_to_the_workers():
    around = Around(**ALL)
    assert pickle.loads(pickle.dumps(around)) == around and around and not Around()
    assert str(Around(schedule="warmup(5) >> cosine(9)")) == '--schedule "warmup(5) >> cosine(9)"'


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--schedule", "cosin"], "--schedule cosin: Unknown schedule 'cosin': did you mean 'cosine'?"),
        (["--schedule", "polynomial"], "--schedule polynomial: polynomial is written with its arguments"),
        (["--schedule", "cosine(0)"], "--schedule cosine(0): cosine: steps is 0"),
        (["--schedule", "exponential(1e9)"], "--schedule exponential(1e9): exponential(1000000000.0) has grown out of"),
        (["--schedule", "constant(0)"], "--schedule constant(0) is 0 at every step: nothing would be trained."),
        (["--schedule", "__import__('os')"], "--schedule __import__('os'): Unknown schedule"),
        (["--warmup", "0"], "--warmup 0 is no length: give a whole number of steps, or a share"),
        (["--warmup", "2.5"], "--warmup 2.5 is no length"),
        (["--warmup", "nan"], "--warmup nan is no length"),
        (["--warmup", "-1"], "--warmup -1 is no length"),
        (["--warmup", "50"], "--warmup 50 leaves nothing of trials of 50 steps: give less."),
        (["--clip", "0"], "--clip 0 is no norm to clip gradients to: give a finite number above 0."),
        (["--clip", "inf"], "--clip inf is no norm"),
        (["--clip", "nan"], "--clip nan is no norm"),
        (["--stop-early", "0"], "--stop-early 0 is too small: give 1 validation or more."),
        (["--switch", "200"], "--switch 200 says no moment to switch at: give at=200 (steps)"),
        (["--switch", "at="], "--switch at= says no moment"),
        (["--switch", "at=2.5"], "--switch at=2.5 says no moment"),
        (["--switch", "plateau=0.5"], "--switch plateau=0.5 says no moment"),
        (["--switch", "swats=nan"], "--switch swats=nan says no moment"),
        (["--switch", "when=3"], "--switch when=3 says no moment"),
        (["--switch", "at=50"], "--switch at=50 never comes in trials of 50 steps: give an earlier step."),
        (["--recipe", "genral"], "--recipe genral: Unknown recipe 'genral': did you mean 'general'?"),
        (["--recipe", "general"], "--recipe general needs a torch module, which this problem has not"),
        (["--optimizers", "recipe-general"], "recipe-general is no optimizer by itself: a race takes it by --recipe"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, args, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["race", "bowl", "--steps", "50", "--optimizers", "sgd", *args])
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == "" and err.count("\n") == 1, err
    assert err.removeprefix("adamas: ").startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_does_not_take_the_problem_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^--recipe large_batch: batch_size is 64: large_batch begins at 512"):
        race("digits", ["sgd"], recipe="large_batch", jobs=1, output=tmp_path / "o")
    assert not (tmp_path / "o").exists()
