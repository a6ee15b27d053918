"""Hugging Face's Trainer: both ways to give it an optimizer, and a run that is resumed."""

import os

import pytest

torch = pytest.importorskip("torch", reason="the torch front")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read at import: everything here is made on the spot
transformers = pytest.importorskip("transformers", reason="Hugging Face's Trainer")
pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs it")

import adamas.doctor  # noqa: E402
import adamas.torch  # noqa: E402

STEPS, SAVED, PEAK, DECAY, CLIP = 8, 4, 0.02, 0.1, 0.5
OPTIONS = {"lr": PEAK, "betas": (0.8, 0.95), "eps": 1e-7}


def make_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **sizes))


def tokens():
    drawn = torch.randint(0, 32, (STEPS * 8, 10), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in drawn]


def trainer(folder, model=None, **optimizer):
    """Two accumulated batches a step, clipping, a warm-up from 0, a checkpoint on the way."""
    arguments = transformers.TrainingArguments(
        str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_grad_norm=CLIP,
        weight_decay=DECAY,
        learning_rate=9.0,  # is not used beside an optimizer that has its own
        warmup_steps=2,
        logging_steps=1,
        save_steps=SAVED,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
    return transformers.Trainer(model or make_model(), arguments, train_dataset=tokens(), **optimizer)


def by_class(folder, cls):
    # the Trainer's groups have its own weight decay
    return trainer(folder, optimizer_cls_and_kwargs=(cls, {**OPTIONS, "weight_decay": 9.0}))


def logged(run):
    rows = [row for row in run.state.log_history if "grad_norm" in row]
    return [(row["step"], row["learning_rate"], row["grad_norm"]) for row in rows]


def weights(run):
    return dict(run.model.state_dict())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with torch's AdamW and with ours: trainer and folder of each."""
    result = []
    for cls in (torch.optim.AdamW, adamas.torch.AdamW):
        folder = tmp_path_factory.mktemp("run")
        run = by_class(folder, cls)
        run.train()
        result.append((run, folder))
    return result


def test_by_class(runs):
    (theirs, _), (ours, _) = runs
    assert type(ours.optimizer.optimizer) is adamas.torch.AdamW
    assert [group["weight_decay"] for group in ours.optimizer.param_groups] == [DECAY, 0]
    assert all(group["betas"] == OPTIONS["betas"] for group in ours.optimizer.param_groups)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-5, atol=1e-6)


def test_what_is_logged(runs):
    (theirs, _), (ours, _) = runs
    told = logged(ours)
    assert [step for step, *_ in told] == list(range(1, STEPS + 1))
    assert max(rate for _, rate, _ in told) == PEAK
    assert min(norm for *_, norm in told) > CLIP, "each step is clipped"
    torch.testing.assert_close(torch.tensor(told), torch.tensor(logged(theirs)), rtol=1e-5, atol=1e-6)


def test_by_optimizer_and_schedule(runs, tmp_path):
    model = make_model()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    opt = adamas.torch.AdamW(groups, **OPTIONS)
    schedule = transformers.get_linear_schedule_with_warmup(opt, 2, STEPS)
    run = trainer(tmp_path, model, optimizers=(opt, schedule))
    run.train()
    assert run.optimizer.optimizer is opt
    torch.testing.assert_close(weights(run), weights(runs[1][0]), rtol=0, atol=0)


def test_resumed_goes_on_as_if_never_stopped(runs, tmp_path):
    ours, folder = runs[1]
    run = by_class(tmp_path, adamas.torch.AdamW)
    run.train(resume_from_checkpoint=str(folder / f"checkpoint-{SAVED}"))
    torch.testing.assert_close(weights(run), weights(ours), rtol=0, atol=0)
    assert logged(run) == logged(ours)


def test_a_run_begun_with_torchs_class_is_resumed_with_ours(runs, tmp_path):
    theirs, folder = runs[0]
    run = by_class(tmp_path, adamas.torch.AdamW)
    run.train(resume_from_checkpoint=str(folder / f"checkpoint-{SAVED}"))
    torch.testing.assert_close(weights(run), weights(theirs), rtol=1e-5, atol=1e-6)


VALUES = [5.0, 3.0, 4.0, 3.5, 3.2, 1.0, 1.0, 1.0]


def stopped_early(folder, metric="eval_value", steps=STEPS, resume=None):
    """An evaluation and a checkpoint at each step; what is measured is what VALUES says."""
    model, seen = make_model(), []
    stopper = adamas.torch.EarlyStopping(3, keep={"model": model})
    run = trainer(folder, model=model, optimizer_cls_and_kwargs=(adamas.torch.AdamW, OPTIONS))
    run.add_callback(stopper.transformers_callback(metric))
    run.args.max_steps, run.args.save_steps, run.args.eval_steps = steps, 1, 1
    run.args.eval_strategy = transformers.trainer_utils.IntervalStrategy.STEPS

    def evaluate(*_, **__):
        seen.append({name: w.clone() for name, w in model.state_dict().items()})
        metrics = {"eval_value": VALUES[run.state.global_step - 1]}
        run.control = run.callback_handler.on_evaluate(run.args, run.state, run.control, metrics)
        return metrics

    run.evaluate = evaluate
    run.train(resume_from_checkpoint=resume)
    return run, stopper, seen


def test_our_early_stopping(tmp_path):
    run, stopper, seen = stopped_early(tmp_path / "whole")
    assert run.state.global_step == stopper.checks == 5
    assert stopper.reason == "3 checks without an improvement on 3 of check 2."
    torch.testing.assert_close(weights(run), seen[1], rtol=0, atol=0)
    stopped_early(tmp_path / "begun", steps=3)
    resumed, stopper, later = stopped_early(tmp_path / "begun", resume=str(tmp_path / "begun" / "checkpoint-3"))
    assert (resumed.state.global_step, stopper.checks, stopper.best_check, len(later)) == (5, 5, 2, 2)
    torch.testing.assert_close(weights(resumed), seen[1], rtol=0, atol=0)


def test_our_early_stopping_wants_its_value_measured(tmp_path):
    with pytest.raises(ValueError, match="The evaluation has no 'eval_loss': it has eval_value"):
        stopped_early(tmp_path, metric="eval_loss")


def watched(folder, rate, log=None, evaluate=False, **options):
    """60 steps on sequences that count upwards, which are learned soon."""
    model = make_model()
    rows = [{"input_ids": torch.arange(i, i + 10) % 32, "labels": torch.arange(i, i + 10) % 32} for i in range(64)]
    run = trainer(folder, model=model, optimizer_cls_and_kwargs=(adamas.torch.AdamW, {"lr": rate}))
    run.train_dataset = run.eval_dataset = rows
    run.args.max_steps, run.args.save_strategy, run.args.max_grad_norm = 60, "no", 0.0
    if evaluate:
        run.args.eval_strategy, run.args.eval_steps = transformers.trainer_utils.IntervalStrategy.STEPS, 20
    callback = adamas.torch.Doctor.transformers_callback(log=log, **options)
    run.add_callback(callback)
    run.train()
    return run, callback.doctor


def test_our_doctor(tmp_path):
    run, doctor = watched(tmp_path / "well", 3e-3, tmp_path / "run.jsonl", evaluate=True)
    assert [finding.code for finding in doctor.findings if finding.severity != "note"] == []
    steps = doctor.run.history.rows
    told = [row["loss"] for row in run.state.log_history if "loss" in row]
    assert steps[:, 0].tolist() == list(range(1, 61)) and doctor.run.setup["steps"] == 60
    torch.testing.assert_close(torch.tensor(steps[:, 1]), torch.tensor(told, dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert doctor.run.validations.rows[:, 0].tolist() == [20, 40, 60]
    assert doctor.run.facts["accumulation"]["passes"] == 2
    assert not run.model._forward_hooks
    log, _ = adamas.doctor.replay(tmp_path / "run.jsonl")
    assert log.count == 60

    _, doctor = watched(tmp_path / "ill", 1.0)
    assert doctor.findings[0].code == "D201" and doctor.findings[0].remedy.settings["lr"] < 0.3


def test_our_doctor_wants_the_models_loss(tmp_path):
    run = trainer(tmp_path, compute_loss_func=lambda output, labels, **_: output.logits.square().mean())
    run.add_callback(adamas.torch.Doctor.transformers_callback())
    plain = type(run.model).forward
    run.model.forward = lambda input_ids=None, **_: plain(run.model, input_ids=input_ids)
    with pytest.raises(ValueError, match="The model's output has no loss"):
        run.train()
