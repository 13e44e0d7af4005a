"""Bags of ROS 2, made by the library that the reader uses, are rows of its first topic."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.errors import InputError
from surefoot.recordings import Sensors, StatesFile

pytest.importorskip("rosbags")

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
JOINTS, GYRO = "sensor_msgs/msg/JointState", "geometry_msgs/msg/Vector3"
POSITIONS = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
RATES = np.array([1.0, 2.0])
every_storage = pytest.mark.parametrize("storage", StoragePlugin)


def joints(values: Sequence[float], names: Sequence[str]) -> bytes:
    header = STORE.types["std_msgs/msg/Header"](
        stamp=STORE.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="base"
    )
    message = STORE.types[JOINTS](
        header=header,
        name=list(names),
        position=np.array(values),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )
    return bytes(STORE.serialize_cdr(message, JOINTS))


def gyro(rate: float) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[GYRO](x=0.0, y=0.0, z=rate), GYRO))


def bag(
    folder: Path,
    storage: StoragePlugin = StoragePlugin.MCAP,
    positions: NDArray[np.float64] = POSITIONS,
    names: Sequence[Sequence[str]] = (("hip", "knee"),) * 4,
) -> Path:
    """Joints at 0, 10, 20 and 30 ms; the gyroscope at 5 and 25 ms; a topic that stays silent."""
    path = folder / "bag"
    with Writer(path, version=9, storage_plugin=storage) as writer:
        of_joints = writer.add_connection("/joints", JOINTS, typestore=STORE)
        of_gyro = writer.add_connection("/gyro", GYRO, typestore=STORE)
        writer.add_connection("/silent", GYRO, typestore=STORE)
        for k, row in enumerate(positions):
            writer.write(of_joints, k * 10_000_000, joints(row.tolist(), names[k]))
        for k, rate in enumerate(RATES):
            writer.write(of_gyro, (5 + 20 * k) * 1_000_000, gyro(rate))
    return path


def read(path: Path, count: int, *columns: str) -> NDArray[np.float64]:
    return StatesFile(path=path, columns=columns).read(Sensors(count=count)).pool


@every_storage
def test_a_bag_is_read_as_a_folder_and_as_its_file(tmp_path: Path, storage: StoragePlugin) -> None:
    folder = bag(tmp_path, storage)
    (file,) = (path for path in folder.iterdir() if path.suffix != ".yaml")
    for path in (folder, file):
        assert np.array_equal(read(path, 2, "/joints.position"), POSITIONS)


def test_the_message_names_its_columns(tmp_path: Path) -> None:
    path = bag(tmp_path)
    found = read(path, 2, "/joints.position[knee]", "/joints.position[hip]")
    assert np.array_equal(found, POSITIONS[:, ::-1])


def test_other_topics_hold_their_last_value_and_silence_is_no_row(tmp_path: Path) -> None:
    found = read(bag(tmp_path), 3, "/joints.position", "/gyro.z")
    assert found.tolist() == [[0.3, 0.4, 1.0], [0.5, 0.6, 1.0], [0.7, 0.8, 2.0]]


def test_the_first_topic_tells_the_moments(tmp_path: Path) -> None:
    found = read(bag(tmp_path), 3, "/gyro.z", "/joints.position")
    assert found.tolist() == [[1.0, 0.1, 0.2], [2.0, 0.5, 0.6]]


def test_an_episode_may_be_told_by_another_topic(tmp_path: Path) -> None:
    file = StatesFile(path=bag(tmp_path), columns=("/joints.position",), episode_column="/gyro.z")
    visited = file.read(Sensors(count=2))
    assert len(visited.pool) == 3
    assert visited.independent[1].tolist() == [0.7, 0.8]


REFUSED = [
    ("/joint.position", "has no topic '/joint'; did you mean '/joints'?; it has /gyro, /joints"),
    ("/joints", "must name a field of its topic, as /joints.data, got '/joints'"),
    ("/joints.positions", "no field 'positions'; did you mean 'position'"),
    ("/joints.header", "must be a number or an array, name one of its stamp, frame_id"),
    ("/joints.header.frame_id", "row 1 of column '/joints.header.frame_id' must be a number"),
    ("/joints.position[ankle]", "has no column '/joints.position\\[ankle\\]'"),
    ("/silent.x", "topic '/silent' must have messages, has none"),
]


@pytest.mark.parametrize(("column", "message"), REFUSED)
def test_what_a_bag_does_not_hold_is_refused_by_name(
    tmp_path: Path, column: str, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("?", "\\?")) as caught:
        read(bag(tmp_path), 1, column)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names", [("knee", "hip"), ("hip", "knee", "ankle")], ids=["another order", "another size"]
)
def test_joints_that_change_their_order_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    changed = (("hip", "knee"), ("hip", "knee"), names, names)
    with pytest.raises(InputError, match=r"message 3 of '/joints\.position' has other"):
        read(bag(tmp_path, names=changed), 2, "/joints.position")


@pytest.mark.parametrize("name", ["torn.mcap", "torn.db3"])
def test_what_is_no_bag_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89MCAP0\r\n torn")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match="is no bag of ROS 2"):
            read(path, 1, "/joints.position")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.mcap", 1, "/joints.position")
