"""A size is a number in the unit of what it is about; any other unit is refused."""

import pytest

from surefoot.errors import InputError
from surefoot.sizes import Size, in_unit


@pytest.mark.parametrize("size", [0.5, "0.5", "0.5 rad", "5e-1  rad"])
def test_a_size_with_and_without_its_unit_is_the_same_number(size: Size) -> None:
    assert in_unit("a", size, ["rad", "rad"]) == 0.5


@pytest.mark.parametrize("size", ["0.5 deg", "half", "rad 0.5"])
def test_a_size_in_another_unit_or_without_a_number_is_refused_by_its_place(size: Size) -> None:
    with pytest.raises(InputError, match=r"^perturb\.angle must be "):
        in_unit("perturb.angle", size, ["rad"])
