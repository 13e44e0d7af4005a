"""What searches climb, and the best point of their way."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from support.training import seeded
from surefoot.train.objectives import Best, lead


@given(st.integers(2, 5), st.integers(0, 2**31))
def test_a_lead_is_over_the_best_other_choice_and_its_gradient_is_that_of_autograd(
    num_choices: int, seed: int
) -> None:
    outputs = torch.randn(6, num_choices, generator=seeded(seed), dtype=torch.float64)
    choice = torch.randint(num_choices, (6, 1), generator=seeded(seed + 1))
    leaf = outputs.clone().requires_grad_()
    others = [
        torch.cat([leaf[row, :picked], leaf[row, picked + 1 :]]).max()
        for row, picked in enumerate(choice[:, 0].tolist())
    ]
    expected = leaf.gather(1, choice)[:, 0] - torch.stack(others)
    value, gradient = lead(choice)(outputs)
    assert torch.equal(value, expected)
    assert torch.equal(gradient, torch.autograd.grad(expected.sum(), leaf)[0])


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31))
def test_every_row_keeps_its_best_offer_whatever_is_done_with_the_tensors_later(
    restarts: int, num_offers: int, seed: int
) -> None:
    generator, num_rows = seeded(seed), 3
    deltas = torch.randn(num_offers, restarts * num_rows, 2, generator=generator)
    values = torch.randn(num_offers, restarts * num_rows, generator=generator)
    best = Best(torch.zeros(restarts * num_rows, 2))
    for delta, value in zip(deltas, values, strict=True):
        offered = delta.clone()
        best.offer(offered, value)
        offered.fill_(torch.nan)  # a search overwrites what it offered
    winner = values.argmax(0)
    rows = torch.arange(restarts * num_rows)
    assert torch.equal(best.delta_BD, deltas[winner, rows])
    of_rows = values[winner, rows].reshape(restarts, num_rows).argmax(0)
    expected = best.delta_BD.reshape(restarts, num_rows, 2)[of_rows, torch.arange(num_rows)]
    assert torch.equal(best.of_restarts(restarts), expected)


def test_an_offer_that_is_not_a_number_is_never_the_best() -> None:
    best = Best(torch.zeros(2, 3))
    best.offer(torch.ones(2, 3), torch.tensor([1.0, torch.nan]))
    best.offer(torch.full((2, 3), 2.0), torch.tensor([torch.nan, -5.0]))
    assert best.delta_BD.tolist() == [[1.0] * 3, [2.0] * 3]
