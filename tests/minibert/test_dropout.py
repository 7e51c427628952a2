import pytest
import torch

from minibert.dropout import Dropout, drop

TYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", TYPES)
def test_values_drop_with_probability_p_and_the_others_are_scaled(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((400, 1001), 3.0, dtype=dtype)
    dropped = drop(x, p)
    assert dropped.dtype == dtype
    fallen = dropped == 0
    assert abs(fallen.double().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert torch.equal(dropped[~fallen], (x * torch.tensor(1 / (1 - p), dtype=dtype))[~fallen])


@pytest.mark.parametrize("dtype", TYPES)
def test_values_drop_independently(dtype: torch.dtype) -> None:
    """Those of one random number too, and those of the next call."""
    torch.manual_seed(0)
    first, second = (drop(torch.ones(100_000, 8, dtype=dtype), 0.3) == 0 for _ in range(2))
    both = torch.cat([first, second], 1).double()
    correlations = torch.corrcoef(both.T).fill_diagonal_(0)
    assert correlations.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7,), (5, 3, 2)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert drop(torch.ones(shape, dtype=torch.bfloat16), 0.5).shape == shape


def test_gradients_are_dropped_and_scaled_like_their_values() -> None:
    x = torch.randn(50, 20, requires_grad=True)
    dropped = drop(x.mT, 0.4)
    dropped.backward(torch.ones_like(dropped))
    assert x.grad is not None
    assert torch.allclose(x.grad.mT * x.mT, dropped)
    assert 0 < (x.grad == 0).sum() < x.numel()


def test_the_seed_decides_and_evaluation_draws_nothing() -> None:
    layer, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(4)
    first = layer(x)
    state = torch.get_rng_state()
    torch.manual_seed(4)
    assert torch.equal(layer(x), first)
    assert layer.eval()(x) is x
    assert torch.equal(torch.get_rng_state(), state)
