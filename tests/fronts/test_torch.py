"""The torch front: a torch.optim.Optimizer in every respect that a training loop touches."""

import copy
import io
import pickle

import numpy as np
import pytest

import adamas
from adamas.errors import InputError

torch = pytest.importorskip("torch")
import adamas.torch  # noqa: E402

CLASSES = ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam", "RAdam"]
ALL = [*CLASSES, "LpAdam", "AdaBelief", "ADOPT", "Lion"]
OPTIONS = {"SGD": {"momentum": 0.9, "dampening": 0.2}, "RMSprop": {"momentum": 0.5, "centered": True}}


def parameters(*shapes, seed=0, **kind):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(**kind)) for s in shapes]


def give_gradients(*many, seed=1):
    """The same fresh gradients to the parameters of each optimizer."""
    generator = torch.Generator().manual_seed(seed)
    for together in zip(*many, strict=True):
        grad = torch.randn(together[0].shape, generator=generator)
        for p in together:
            p.grad = grad.to(p.dtype).clone()


SHAPES = [(3, 4), (5,), (), (2, 3, 4, 5), (0, 3), (1,)]


@pytest.mark.parametrize("name", CLASSES)
def test_follows_torch_step_by_step(name):
    ours, theirs = parameters(*SHAPES), parameters(*SHAPES)
    options = {"weight_decay": 0.01, **OPTIONS.get(name, {})}
    a = getattr(adamas.torch, name)(ours, **options)
    b = getattr(torch.optim, name)(theirs, **options)
    for step in range(30):
        give_gradients(ours, theirs, seed=step)
        if step % 3 == 0:
            ours[1].grad = theirs[1].grad = None
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)
    assert float(a.state[ours[1]]["step"]) == 20


@pytest.mark.parametrize("name", CLASSES)
def test_positional_arguments_are_torchs(name):
    import inspect

    theirs = list(inspect.signature(getattr(torch.optim, name)).parameters.values())
    ours = inspect.signature(getattr(adamas.torch, name)).parameters
    positional = [p.name for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == positional
    for p in theirs:
        assert p.name in ours
        if p.default is not p.empty:
            assert ours[p.name].default == p.default, p.name


@pytest.mark.parametrize("name", CLASSES)
def test_state_dict_goes_to_torch_and_back(name):
    options = OPTIONS.get(name, {})
    ours, theirs = parameters((3, 4), (5,)), parameters((3, 4), (5,))
    a = getattr(adamas.torch, name)(ours, lr=0.05, **options)
    b = getattr(torch.optim, name)(theirs, lr=0.01, **options)
    for step in range(3):
        give_gradients(ours, theirs, seed=step)
        a.step()
        with torch.no_grad():
            for p, q in zip(ours, theirs, strict=True):
                q.copy_(p)
    b.load_state_dict(copy.deepcopy(a.state_dict()))  # torch's load takes hold of what it is given
    assert b.param_groups[0]["lr"] == 0.05
    for step in range(3, 6):
        give_gradients(ours, theirs, seed=step)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    a.load_state_dict(b.state_dict())
    give_gradients(ours, theirs, seed=9)
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            p.copy_(q)
    a.step()
    b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_goes_on_as_if_never_stopped(name):
    straight, stopped = parameters((7,), (2, 3)), parameters((7,), (2, 3))
    a = getattr(adamas.torch, name)(straight, **OPTIONS.get(name, {}))
    b = getattr(adamas.torch, name)(stopped, **OPTIONS.get(name, {}))
    for step in range(6):
        if step == 3:
            file = io.BytesIO()
            torch.save(b.state_dict(), file)
            file.seek(0)
            b = getattr(adamas.torch, name)(stopped)
            b.load_state_dict(torch.load(file, weights_only=True))
        give_gradients(straight, stopped, seed=step)
        a.step()
        b.step()
    for p, q in zip(straight, stopped, strict=True):
        assert torch.equal(p, q)


def test_a_torch_sgds_buffer_goes_on():
    ours, theirs = parameters((3, 4)), parameters((3, 4))
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    a, b = adamas.torch.SGD(ours, **options), torch.optim.SGD(theirs, **options)
    give_gradients(ours, theirs)
    b.step()
    with torch.no_grad():
        ours[0].copy_(theirs[0])
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    a.step()
    b.step()
    torch.testing.assert_close(ours[0], theirs[0])


def test_loading_takes_no_hold_of_the_callers_tensors():
    (p,) = parameters((3,))
    a = adamas.torch.Adam([p])
    give_gradients([p])
    a.step()
    saved = copy.deepcopy(a.state_dict())
    before = saved["state"][0]["exp_avg"].clone()
    a.load_state_dict(saved)
    a.step()
    assert torch.equal(saved["state"][0]["exp_avg"], before)
    assert float(saved["state"][0]["step"]) == 1


def test_groups_schedulers_closures_hooks():
    p, q, r = parameters((3,), (4,), (5,))
    opt = adamas.torch.AdamW([{"params": [p], "weight_decay": 0.0}, {"params": [q], "lr": 0.5}], lr=0.1)
    opt.add_param_group({"params": [r], "betas": (0.5, 0.9)})
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.3, total_steps=10)
    seen = []
    opt.register_step_pre_hook(lambda *_: seen.append("pre"))
    opt.register_step_post_hook(lambda *_: seen.append("post"))

    def closure():
        opt.zero_grad()
        loss = sum((x**2).sum() for x in (p, q, r))
        loss.backward()
        return loss

    reference = [x.detach().clone().requires_grad_() for x in (p, q, r)]
    them = torch.optim.AdamW(
        [
            {"params": [reference[0]], "weight_decay": 0.0},
            {"params": [reference[1]], "lr": 0.5},
            {"params": [reference[2]], "betas": (0.5, 0.9)},
        ],
        lr=0.1,
    )
    their_scheduler = torch.optim.lr_scheduler.OneCycleLR(them, max_lr=0.3, total_steps=10)
    for _ in range(5):
        loss = opt.step(closure)
        scheduler.step()
        for x in reference:
            x.grad = 2 * x.detach()
        assert loss.item() == pytest.approx(sum((x**2).sum().item() for x in reference), rel=1e-4)
        them.step()
        their_scheduler.step()
    for x, y in zip((p, q, r), reference, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    assert seen == ["pre", "post"] * 5


def test_no_gradient_no_step():
    (p,) = parameters((3,))
    opt = adamas.torch.AdamW([p])
    before = p.detach().clone()
    opt.step()
    assert torch.equal(p, before) and not opt.state


def test_gradients_that_come_and_go_keep_their_own_counts():
    p, q = parameters((40,), (3,), dtype=torch.float64)
    opt = adamas.torch.Adam([p, q], lr=0.1)
    alone = q.detach().clone().requires_grad_()
    only = adamas.torch.Adam([alone], lr=0.1)
    for step in range(12):
        give_gradients([p, q], seed=step)
        if step % 4:
            q.grad = None
        else:
            alone.grad = q.grad.clone()
            only.step()
        opt.step()
    assert torch.equal(alone, q)
    assert float(opt.state[p]["step"]) == 12 and float(opt.state[q]["step"]) == 3


# -- lives of a parameter: nothing that was remembered may be stale ---------------------------------------------------


def twins(shape=(6, 4), **options):
    """Two optimizers in the same state; the second is the reference, its tensors contiguous and left alone."""
    ours, theirs = parameters(shape), parameters(shape)
    a, b = adamas.torch.AdamW(ours, lr=0.1, **options), adamas.torch.AdamW(theirs, lr=0.1, **options)
    for step in range(2):
        give_gradients(ours, theirs, seed=step)
        a.step()
        b.step()
    return a, ours[0], b, theirs[0]


def both_step(a, p, b, q, seed):
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(q.shape, generator=generator)
    p.grad, q.grad = grad.to(p.dtype).clone(), grad.clone()
    a.step()
    b.step()


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p, "data", p.data.clone()),
        lambda p: setattr(p, "data", p.data.t().contiguous().t()),
        lambda p: setattr(p, "data", torch.zeros(12, 8)[::2, ::2].copy_(p.data)),
    ],
    ids=["re-pointed", "transposed", "with gaps"],
)
def test_a_parameter_may_move(change):
    a, p, b, q = twins()
    old = p.data
    change(p)
    kept = old.clone()
    for seed in (5, 6, 7):
        both_step(a, p, b, q, seed)
        assert torch.equal(p, q)
    assert torch.equal(old, kept), "the memory it left was written to"


def test_memory_between_a_strided_parameters_elements_is_left_alone():
    wide = torch.arange(24.0).reshape(6, 4)
    p = torch.nn.Parameter(wide[:, ::2])
    gaps = wide[:, 1::2].clone()
    opt = adamas.torch.SGD([p], lr=1.0)
    p.grad = torch.ones(6, 2)
    opt.step()
    assert torch.equal(wide[:, 1::2], gaps)
    assert torch.equal(wide[:, ::2], torch.arange(24.0).reshape(6, 4)[:, ::2] - 1)


@pytest.mark.parametrize("layout", ["t", "gaps", "expanded", "channels"])
def test_a_gradient_may_lie_as_it_likes(layout):
    p, q = parameters((4, 4, 4, 4), seed=3)[0], parameters((4, 4, 4, 4), seed=3)[0]
    a, b = adamas.torch.Adam([p], lr=0.1), adamas.torch.Adam([q], lr=0.1)
    for step in range(3):
        base = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(step))
        grad = {
            "t": lambda base=base: base.transpose(0, 3),
            "gaps": lambda base=base: base.repeat_interleave(2, dim=3)[..., ::2],
            "expanded": lambda base=base: base[:1].expand(4, 4, 4, 4),
            "channels": lambda base=base: base.to(memory_format=torch.channels_last),
        }[layout]()
        p.grad, q.grad = grad, grad.contiguous().clone()
        a.step()
        b.step()
        assert torch.equal(p, q)


def test_a_channels_last_parameter_steps_in_place():
    p = torch.nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    q = torch.nn.Parameter(p.detach().contiguous().clone())
    a, b = adamas.torch.AdamW([p]), adamas.torch.AdamW([q])
    for step in range(3):
        grad = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(step))
        p.grad, q.grad = grad.to(memory_format=torch.channels_last), grad
        a.step()
        b.step()
    assert torch.equal(p, q) and p.is_contiguous(memory_format=torch.channels_last)
    assert a.state[p]["exp_avg"].stride() == p.stride()
    assert not a._stepper._plan.parts[0].staged and not a._stepper._plan.parts[0].staged_gradients


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.__setitem__("exp_avg", torch.zeros(6, 4)),
        lambda state: setattr(state["exp_avg"], "data", torch.zeros(6, 4)),
        lambda state: state["exp_avg"].zero_(),
        lambda state: state.update(exp_avg=torch.zeros(4, 6).t()),
    ],
    ids=["replaced", "re-pointed", "in place", "transposed"],
)
def test_a_state_may_be_changed(change):
    a, p, b, q = twins()
    assert a.state[p]["step"] == b.state[q]["step"] == 2  # seen, and looked after from now on
    both_step(a, p, b, q, 4)
    change(a.state[p])
    b.state[q]["exp_avg"].zero_()
    for seed in (5, 6):
        both_step(a, p, b, q, seed)
        assert torch.equal(p, q)


def test_a_cleared_state_starts_anew():
    a, p, _, _ = twins()
    a.state.clear()
    fresh = p.detach().clone().requires_grad_()
    b = adamas.torch.AdamW([fresh], lr=0.1)
    both_step(a, p, b, fresh, 5)
    assert torch.equal(p, fresh) and float(a.state[p]["step"]) == 1


def test_a_state_dicts_tensors_may_move():
    a, p, b, q = twins()
    alias = a.state_dict()["state"][0]["exp_avg"]
    alias.share_memory_()  # gives the storage another address
    both_step(a, p, b, q, 5)
    assert torch.equal(p, q) and torch.equal(alias, b.state[q]["exp_avg"])


def test_states_are_remembered_until_someone_looks():
    a, p, b, q = twins()
    held = a.state[p]["exp_avg"]
    both_step(a, p, b, q, 5)
    assert a.state[p]["exp_avg"] is held
    assert torch.equal(held, b.state[q]["exp_avg"])


def test_parameters_may_be_replaced_in_a_group():
    a, p, _, _ = twins()
    fresh = torch.nn.Parameter(torch.ones(6, 4))
    a.param_groups[0]["params"][0] = fresh
    before = p.detach().clone()
    fresh.grad = torch.ones(6, 4)
    a.step()
    assert torch.equal(p, before) and torch.allclose(fresh, torch.full((6, 4), 1 - 0.1 - 0.1 * 0.01))


def test_a_parameter_may_change_groups():
    p, q = parameters((3,), (3,))
    opt = adamas.torch.SGD([{"params": [p, q], "lr": 1.0}, {"params": parameters((2,)), "lr": 0.0}])
    for step in range(2):
        give_gradients([p, q], seed=step)
        before = q.detach().clone()
        opt.step()
        assert torch.equal(q, before) == (step == 1)
        opt.param_groups[1]["params"].insert(0, opt.param_groups[0]["params"].pop())


def test_double_after_construction():
    a, p, _, _ = twins()
    p.data = p.data.double()
    p.grad = torch.ones(6, 4, dtype=torch.float64)
    before = p.detach().clone()
    a.step()
    assert p.dtype == torch.float64 and not torch.equal(p, before)


# -- kinds of parameter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_parameters_have_wide_states(dtype):
    (p,) = parameters((50,), dtype=dtype)
    opt = adamas.torch.AdamW([p], lr=0.01)
    wide = p.detach().float()
    m, v = torch.zeros(50), torch.zeros(50)
    for t in range(1, 6):
        p.grad = torch.randn(50, generator=torch.Generator().manual_seed(t)).to(dtype)
        g = p.grad.float()
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        wide = wide - 0.01 * (m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8) + 0.01 * wide)
        wide = wide.to(dtype).float()
        opt.step()
    assert opt.state[p]["exp_avg"].dtype == torch.float32
    torch.testing.assert_close(opt.state[p]["exp_avg_sq"], v, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(p.float(), wide, rtol=2e-2, atol=1e-2)
    again = adamas.torch.AdamW([p])
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert torch.equal(again.state[p]["exp_avg"], opt.state[p]["exp_avg"])


@pytest.mark.parametrize("name", CLASSES)
def test_complex_parameters_are_pairs(name):
    options = OPTIONS.get(name, {})
    if name == "SGD":
        options = {"momentum": 0.9}
    start = torch.randn(5, 3, dtype=torch.complex128)
    p = torch.nn.Parameter(start.clone())
    real = torch.nn.Parameter(torch.view_as_real(start).clone())
    a, b = getattr(adamas.torch, name)([p], **options), getattr(adamas.torch, name)([real], **options)
    for step in range(4):
        grad = torch.randn(5, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(step))
        p.grad = grad.conj() if step % 2 else grad
        real.grad = torch.view_as_real(p.grad.resolve_conj()).clone()
        a.step()
        b.step()
        assert torch.equal(torch.view_as_real(p.detach()), real.detach())


def test_a_lazily_negated_gradient_is_negated():
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    a, b = adamas.torch.SGD([p], lr=1.0), adamas.torch.SGD([q], lr=1.0)
    for step in range(3):
        grad = torch.tensor([1.0, -2.0, 3.0])
        p.grad = torch._neg_view(grad) if step else -grad
        q.grad = -grad
        assert p.grad.is_neg() == bool(step)
        a.step()
        b.step()
        assert torch.equal(p, q)


def test_meta_parameters_step():
    p = torch.nn.Parameter(torch.zeros(4, 3, device="meta"))
    p.grad = torch.zeros(4, 3, device="meta")
    opt = adamas.torch.AdamW([p])
    opt.step()
    assert opt.state[p]["exp_avg"].device.type == "meta" and float(opt.state[p]["step"]) == 1


def test_tensor_subclasses_are_stepped_by_torch():
    class Named(torch.Tensor):
        pass

    plain = torch.randn(4, 3)
    p = plain.clone().as_subclass(Named)
    q = plain.clone()
    for x in (p, q):
        x.grad = torch.ones(4, 3)
    a, b = adamas.torch.AdamW([p], lr=0.1), adamas.torch.AdamW([q], lr=0.1)
    a.step()
    b.step()
    assert a._stepper._plan.parts[0].table is None and b._stepper._plan.parts[0].table is not None
    torch.testing.assert_close(p.as_subclass(torch.Tensor), q)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adamax", "AdaBelief", "NAdam", "RAdam", "LpAdam"])
def test_differentiable_step(name):
    options = {"momentum": 0.9} if name == "SGD" else {}
    start = torch.tensor([0.5, -1.2, 2.0], dtype=torch.float64)
    grads = [
        torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64),
        torch.tensor([-0.2, 0.4, 0.9], dtype=torch.float64),
    ]

    def run(theta, first, lr):
        p = theta.clone()
        opt = getattr(adamas.torch, name)([p], lr=lr, differentiable=True, **options)
        for grad in (first, grads[1]):
            p.grad = grad
            opt.step()
        return p

    inputs = (
        start.requires_grad_(),
        grads[0].clone().requires_grad_(),
        torch.tensor(0.1, dtype=torch.float64),
    )
    inputs[2].requires_grad_()
    assert torch.autograd.gradcheck(run, inputs)


def test_the_version_of_a_stepped_parameter_rises():
    (p,) = parameters((3,))
    opt = adamas.torch.AdamW([p])
    loss = (p * p).sum()
    give_gradients([p])
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_step_counts_as_one_change_of_each_parameter_that_it_moves():
    plain, still, half, sparse = (torch.nn.Parameter(torch.ones(4, 3)) for _ in range(4))
    half.data = half.data.half()
    plain.grad, half.grad = torch.ones_like(plain), torch.ones_like(half)
    sparse.grad = torch.sparse_coo_tensor([[1]], torch.ones(1, 3), (4, 3), check_invariants=False)
    params = [plain, still, half, sparse]
    opt, view = adamas.torch.AdamW(params), plain.view(12)
    before = [p._version for p in params]
    for steps in (1, 2, 3):
        opt.step()
        assert [p._version - b for p, b in zip(params, before, strict=True)] == [steps, 0, steps, steps]
    assert view._version == plain._version


def test_a_tensor_learning_rate_is_read_at_each_step():
    (p,) = parameters((3,))
    lr = torch.tensor(0.5)
    opt = adamas.torch.SGD([p], lr=lr)
    p.grad = torch.ones(3)
    start = p.detach().clone()
    opt.step()
    lr.fill_(0.25)
    opt.step()
    torch.testing.assert_close(p.detach(), start - 0.75)


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_hyperparameter_may_be_a_tensor_of_one_element_and_some_axes(differentiable):
    p, q = torch.ones(()), torch.ones(())
    options = {"amsgrad": True, "differentiable": differentiable}
    betas = torch.tensor([[[0.9]]], dtype=torch.float64), torch.tensor([[0.99]], dtype=torch.float64)
    a = adamas.torch.AdamW([p], lr=torch.tensor([0.1], dtype=torch.float64), betas=betas, **options)
    b = adamas.torch.AdamW([q], lr=0.1, betas=(0.9, 0.99), **options)
    for x in (1.0, -2.0):
        p.grad, q.grad = torch.tensor(x), torch.tensor(x)
        a.step()
        b.step()
    assert p.shape == () and a.state[p]["max_exp_avg_sq"].shape == ()
    torch.testing.assert_close(p, q)


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copy_is_its_own(copied):
    a, p, _, _ = twins()
    b = copied(a)
    (q,) = b.param_groups[0]["params"]
    assert torch.equal(p, q)
    both_step(a, p, b, q, 5)
    assert torch.equal(p, q)
    assert a.state[p]["exp_avg"].data_ptr() != b.state[q]["exp_avg"].data_ptr()


# -- what cannot be ---------------------------------------------------------------------------------------------------

(GOOD,) = parameters((3,))
NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda o: o.Adam([GOOD], lr=-1.0),
            "Invalid learning rate: -1.0: it must be a finite number, 0 or more.",
        ),
        (
            lambda o: o.Adam([GOOD], lr=NAN),
            "Invalid learning rate: nan: it must be a finite number, 0 or more.",
        ),
        (
            lambda o: o.Adam([GOOD], lr="0.1"),
            "Invalid learning rate: '0.1': it must be a finite number, 0 or more.",
        ),
        (
            lambda o: o.Adam([GOOD], betas=(0.9, 1.0)),
            "Invalid beta parameter at index 1: 1.0: it must be at least 0 and less than 1.",
        ),
        (lambda o: o.Adam([GOOD], betas=0.9), "Invalid betas: 0.9: it must be a tuple of 2 numbers."),
        (
            lambda o: o.Adam([GOOD], eps=NAN),
            "Invalid epsilon value: nan: it must be a finite number, 0 or more.",
        ),
        (
            lambda o: o.Adam([GOOD], weight_decay=-0.1),
            "Invalid weight_decay value: -0.1: it must be a finite number, 0 or more.",
        ),
        (lambda o: o.Adam([GOOD], amsgrad=3), "Invalid amsgrad value: 3: it must be True or False."),
        (
            lambda o: o.LpAdam([GOOD], p=float("inf")),
            "Invalid p value: inf: it must be a finite number, 1 or more (for p → ∞ use Adamax).",
        ),
        (lambda o: o.SGD([GOOD], nesterov=True), "Nesterov momentum requires a momentum and zero dampening."),
        (
            lambda o: o.SGD([GOOD], momentum=0.9, momentum_form="polyak"),
            "Invalid momentum_form value: 'polyak': it must be 'torch' or 'velocity'.",
        ),
        (
            lambda o: o.Adam([{"params": [GOOD], "lr": -3.0}]),
            "Invalid learning rate: -3.0: it must be a finite",
        ),
        (lambda o: o.Adam([GOOD], beta=(0.9, 0.9)), "Unknown argument of Adam 'beta': did you mean 'betas'?"),
        (
            lambda o: o.Adam([torch.zeros(2, dtype=torch.int64)]),
            "A parameter of shape (2,) has dtype torch.int64: it must be of a floating-point or complex dtype;",
        ),
        (lambda o: o.Adam([]), "optimizer got an empty parameter list"),
    ],
)
def test_construction_refuses(make, sentence):
    with pytest.raises((ValueError, TypeError)) as caught:
        make(adamas.torch)
    assert str(caught.value).startswith(sentence)


def test_a_learning_rate_that_turns_nan_is_refused_before_anything_moves():
    a, p, _, _ = twins()
    before, moment = p.detach().clone(), a.state[p]["exp_avg"].clone()
    a.param_groups[0]["lr"] = NAN
    with pytest.raises(InputError, match="Invalid learning rate: nan"):
        a.step()
    a.param_groups[0]["lr"] = 0.1
    assert torch.equal(p, before) and torch.equal(a.state[p]["exp_avg"], moment) and a.state[p]["step"] == 2


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda a, p: setattr(p, "data", torch.zeros(2, 2)), "The gradient of parameter 1 has shape (6, 4)"),
        (
            lambda a, p: a.state[p].update(exp_avg=torch.zeros(3)),
            "The state 'exp_avg' of parameter 1 has shape (3,)",
        ),
        (lambda a, p: a.state[p].pop("step"), "The state of parameter 1 has no 'step'"),
        (lambda a, p: a.state[p]["step"].fill_(NAN), "The state of parameter 1 has step = nan"),
        (lambda a, p: a.state[p].update(step="ten"), "The state of parameter 1 has step = ten"),
        (
            lambda a, p: setattr(p, "grad", p.grad.to_sparse()),
            "The gradient of parameter 1 is sparse along 2 axes",
        ),
        (lambda a, p: setattr(p, "data", torch.zeros(1).expand(6, 4)), "Parameter 1 overlaps itself"),
    ],
)
def test_a_step_that_cannot_be_changes_nothing(spoil, sentence):
    first, second = parameters((3,), (6, 4))
    a = adamas.torch.AdamW([first, second])
    give_gradients([first, second])
    a.step()
    a.state[second]
    before = first.detach().clone()
    spoil(a, second)
    with pytest.raises(ValueError) as caught:
        a.step()
    assert str(caught.value).startswith(sentence)
    assert torch.equal(first, before) and float(a.state[first]["step"]) == 1


# -- a rule of one's own ----------------------------------------------------------------------------------------------


def test_a_rule_of_five_lines_has_both_fronts_and_the_same_bits():
    import adamas.numpy

    @adamas.rule
    def clipped_adam(g, exp_avg, exp_avg_sq, *, t, lr=1e-3, betas=(0.9, 0.999), limit=0.1, eps=1e-8):
        beta1, beta2 = betas
        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
        m = adamas.maximum(adamas.minimum(exp_avg, limit), -limit) / (1 - beta1**t)
        return lr * m / (adamas.sqrt(exp_avg_sq / (1 - beta2**t)) + eps), exp_avg, exp_avg_sq

    theta = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    p = torch.nn.Parameter(torch.tensor(theta))
    a = adamas.numpy.optimizer(clipped_adam)(theta, lr=0.01, limit=0.05)
    b = adamas.torch.optimizer(clipped_adam)([p], lr=0.01, limit=0.05)
    for seed in range(5):
        g = np.random.default_rng(seed).standard_normal((5, 7)).astype(np.float32)
        p.grad = torch.tensor(g)
        a.step(g)
        b.step()
    assert np.array_equal(theta, p.detach().numpy())


# -- threads, forks ---------------------------------------------------------------------------------------------------


def test_results_do_not_depend_on_threads():
    ends = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ps = parameters((300_001,), (7,), (1000, 300))
        opt = adamas.torch.AdamW(ps)
        for step in range(2):
            give_gradients(ps, seed=step)
            opt.step()
        ends.append(ps)
    torch.set_num_threads(2)
    for p, q in zip(*ends, strict=True):
        assert torch.equal(p, q)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork")  # of JAX, where another test has imported it
def test_a_forked_child_can_step():
    import os

    ps = parameters((300_000,))
    opt = adamas.torch.AdamW(ps)
    give_gradients(ps)
    opt.step()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(2)
        opt.step()
        os._exit(0 if float(opt.state[ps[0]]["step"]) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_inside_torch_compile_the_step_is_left_out_of_the_graph():
    a, p, b, q = twins()
    for seed in (5, 6):
        generator = torch.Generator().manual_seed(seed)
        p.grad = torch.randn(6, 4, generator=generator)
        q.grad = p.grad.clone()
        torch.compile(lambda: a.step(), backend="eager")()
        b.step()
    assert torch.equal(p, q)
