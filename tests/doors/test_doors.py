"""Every kind of odd input at every door: one clear line, or the right numbers.

The cases are in `cases_*.py`; `python tests/doors/table.py` runs them all and prints
what each door does with each kind. `make test` runs a few of each kind at each door,
`make test-long` the others.
"""

from collections import Counter

import pytest
from doors.server import Server, all_cases
from filelock import FileLock

# Of a kind at a door, refused and legal ones each; legal ones may train for a while.
MANY, MANY_TRAINED = 2, 1


def chosen():
    """Returns the cases as parameters, `long` where there are many of their kind."""
    seen = Counter()
    for case in all_cases().values():
        group = case.kind, case.door, bool(case.says)
        seen[group] += 1
        trains = case.door in ("train", "eval") and not case.says
        most = MANY_TRAINED if trains else MANY
        marks = [pytest.mark.long] if seen[group] > most else []
        yield pytest.param(case.id, id=case.id, marks=marks)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The prepared process; the kit is made once for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if base.name.startswith("popen-") else base) / "doors"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        server = Server(root)
    yield server
    server.close()


@pytest.mark.parametrize("case", [*chosen()])
def test_case(case, server):
    result = server.run(case)
    assert "broken" not in result, result["broken"]
    assert not result["faults"], "\n".join([*result["faults"], result["err"][-2000:]])
