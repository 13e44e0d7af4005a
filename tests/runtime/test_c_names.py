"""Names in C are valid, different, and numbered in the order of the controller's vectors."""

import re
import subprocess
from pathlib import Path

import pytest

from surefoot.robot import Actuator, Robot, Sensor
from surefoot.runtime.c_compiler import find_compiler
from surefoot.runtime.c_names import NAMES_FILE, c_names

ODD = ("*/ int x; /*", "m\\", "m??/", "°/s", "1", "/*/", "**//**")


def robot_of(*sensors: Sensor) -> Robot:
    return Robot(sensors, (Actuator(name="wheel", unit="rad/s", range=(-1.5, 1e9)),), None, "")


def entries_of(header: bytes) -> dict[str, int]:
    found = re.findall(r"^ {4}POLICY_SENSOR_(\w+) = (\d+)", header.decode(), re.MULTILINE)
    return {name: int(entry) for name, entry in found}


@pytest.mark.parametrize("standard", ["c89", "c99", "c++11"])
def test_every_name_is_a_constant_of_its_entry_without_a_warning(
    tmp_path: Path, standard: str
) -> None:
    odd = [Sensor(name=f"odd-{number}", unit=unit) for number, unit in enumerate(ODD)]
    legs = Sensor(name="legs", unit="rad", entries=("front-left", "2", "int"), range=(-0.1, 2))
    robot = robot_of(legs, *odd)
    (tmp_path / NAMES_FILE).write_bytes(c_names(robot))
    names = entries_of(c_names(robot))
    assert list(names)[:3] == ["LEGS_FRONT_LEFT", "LEGS_2", "LEGS_INT"]
    assert list(names.values()) == list(range(len(robot.sensor_labels)))
    checks = [f"char is_{n}[POLICY_SENSOR_{name} == {n} ? 1 : -1];" for name, n in names.items()]
    program = [f'#include "{NAMES_FILE}"', f'#include "{NAMES_FILE}"', *checks]
    program.append("char is_wheel[POLICY_ACTUATOR_WHEEL == 0 ? 1 : -1];")
    (tmp_path / "use.c").write_text("\n".join([*program, ""]))
    flags = ["-Wall", "-Wextra", "-pedantic", "-Wcomment", "-Werror", f"-std={standard}"]
    language = ["-x", "c++"] if "++" in standard else []
    command = [find_compiler(), *flags, "-fsyntax-only", *language, "use.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_that_would_be_alike_end_in_their_entries() -> None:
    alike = ["a-b", "a_b", "a_b_0", "A-B", "_", "__", "c"]
    names = entries_of(c_names(robot_of(*(Sensor(name=name, unit="1") for name in alike))))
    assert list(names.values()) == list(range(7))
    assert len({name.upper() for name in names}) == 7
    assert list(names)[6] == "C"


def test_unit_and_range_stand_beside_the_name() -> None:
    text = c_names(robot_of(Sensor(name="gyro", unit="1"))).decode()
    assert "POLICY_SENSOR_GYRO = 0 /* gyro: pure number */" in text
    assert "POLICY_ACTUATOR_WHEEL = 0 /* wheel: rad/s, in [-1.5, 1e+09] */" in text
