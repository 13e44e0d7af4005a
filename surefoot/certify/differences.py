"""Where two JSON values differ by more than the rounding of another machine."""

from collections.abc import Collection, Iterator, Mapping

from surefoot.artifact import Json

# Another BLAS may round the same proof a little differently, never by this much.
_BELOW, _ABOVE = 1e-9, 1e-6


def differences(said: Json, proved: Json, where: str, skip: Collection[str] = ()) -> Iterator[str]:
    """Yield a line for each number or word that is not what a proof gives.

    Args:
        said: Statements of a certificate.
        proved: What its proofs give; what it says beyond that is a difference, too.
        where: Name of the value, for the lines.
        skip: Keys that are not compared.
    """
    if isinstance(proved, Mapping) and isinstance(said, Mapping):
        for key in sorted((said.keys() | proved.keys()) - set(skip)):
            if key in said and key in proved:
                yield from differences(said[key], proved[key], f"{where}.{key}", skip)
            else:
                yield f"{where}.{key} is {'not proved' if key in said else 'missing'}"
    elif isinstance(proved, list) and isinstance(said, list) and len(proved) == len(said):
        for number, (left, right) in enumerate(zip(said, proved, strict=True)):
            yield from differences(left, right, f"{where}[{number}]", skip)
    elif isinstance(proved, float) and isinstance(said, (int, float)):
        size = abs(proved)
        if not proved - _BELOW * size <= said <= proved + _ABOVE * size:
            yield f"{where} says {said}, the proof gives {proved}"
    elif said != proved:
        yield f"{where} says {said!r}, the proof gives {proved!r}"
