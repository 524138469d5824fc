import csv
import logging
import time

import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf import extras
from bigearthnet_tf.training import emissions

TRACKED = configs.from_dict({"track_emissions": True})


@pytest.fixture
def codecarbon(monkeypatch, tmp_path):
    """The package, apart from any settings of the user."""
    found = pytest.importorskip("codecarbon", reason="the extra emissions is absent")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return found


def rows_of(folder):
    with (folder / "emissions.csv").open() as file:
        return list(csv.DictReader(file))


def test_nothing_happens_unless_asked_for(tmp_path):
    with emissions.track(tmp_path, configs.from_dict({})):
        pass
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_before_the_training(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with (
        pytest.raises(ValueError, match=r"pip install '\.\[emissions\]'"),
        emissions.track(tmp_path, TRACKED),
    ):
        pytest.fail("the training began")


def test_each_start_leaves_a_row(codecarbon, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):
        with emissions.track(tmp_path, TRACKED):
            time.sleep(1.2)
    first, second = rows_of(tmp_path)
    assert first["run_id"] != second["run_id"]
    for row in (first, second):
        assert 1 <= float(row["duration"]) < 20
        parts = [float(row[f"{part}_energy"]) for part in ("cpu", "gpu", "ram")]
        assert sum(parts) == pytest.approx(float(row["energy_consumed"])) != 0
    said = [r.getMessage() for r in caplog.records if r.name == emissions.__name__]
    assert len(said) == 2
    assert "kWh" in said[1]


def test_the_row_is_kept_up_to_date_meanwhile(codecarbon, tmp_path, monkeypatch):
    monkeypatch.setattr(emissions, "_SECONDS", 0.2)
    monkeypatch.setattr(emissions, "_LOOKS_PER_ROW", 1)
    with emissions.track(tmp_path, TRACKED):
        time.sleep(1)
        assert len(rows_of(tmp_path)) == 1
    assert len(rows_of(tmp_path)) == 1


def test_an_error_of_the_training_is_its_own(codecarbon, tmp_path):
    with (
        pytest.raises(ValueError, match="a loss"),
        emissions.track(tmp_path, TRACKED),
    ):
        raise ValueError("a loss")
    assert len(rows_of(tmp_path)) == 1


class Broken:
    """A codecarbon that fails where it is told to."""

    def __init__(self, fails):
        self.fails = fails

    def OfflineEmissionsTracker(self, output_handlers, **options):
        self.table = output_handlers[0]
        self._at("made")
        return self

    def start(self):
        self._at("started")

    def stop(self):
        pass

    def _at(self, place):
        if place == self.fails:
            raise RuntimeError("no such file: /dev/power")


@pytest.mark.parametrize("place", ["made", "started", "never, but nothing is read"])
def test_a_failure_does_not_stop_the_training(tmp_path, monkeypatch, caplog, place):
    monkeypatch.setattr(extras, "load", lambda *_: Broken(place))
    with emissions.track(tmp_path, TRACKED):
        trained = True
    assert trained
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "emissions.csv" in record.getMessage()


def test_rows_of_an_older_version_keep_their_columns(tmp_path):
    (tmp_path / "emissions.csv").write_text("run_id,old\na,1\n")
    table = emissions._Table(tmp_path / "emissions.csv")

    class Total:
        values = {"run_id": "b", "new": 2}  # noqa: RUF012

    table.out(Total, None)
    table.live_out(Total, None)
    assert rows_of(tmp_path) == [
        {"run_id": "a", "old": "1", "new": ""},
        {"run_id": "b", "old": "", "new": "2"},
    ]


def test_a_full_disk_is_told_at_the_end(tmp_path, caplog):
    table = emissions._Table(tmp_path / "absent" / "x" / "emissions.csv")
    (tmp_path / "absent").write_text("a file")

    class Total:
        values = {"run_id": "b"}  # noqa: RUF012

    table.out(Total, None)
    emissions._tell(table)
    assert "no or old emissions" in caplog.text
