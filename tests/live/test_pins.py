"""A folder of pins is named by namespace and interface; tests/live/test_attached.py pins and removes real programs."""

from pathlib import Path

from ids_repro.live import pins


def test_a_folder_names_the_namespace_and_the_interface():
    folder = pins.folder_of(7)
    assert folder.parent == pins.FOLDER
    assert pins.place_of(folder) == (pins.namespace(), 7)


def test_the_namespace_is_this_process_own_and_is_alive():
    assert pins.namespace() == Path("/proc/self/ns/net").stat().st_ino
    assert pins.namespace() in pins.living_namespaces()


def test_a_folder_without_pins_tells_nothing(tmp_path: Path):
    assert pins.about(tmp_path) == {}
