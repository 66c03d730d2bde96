from orchestrator.web.desk import Desk
from tests.unit.web.desk import FakeDesk


def test_double_has_the_whole_surface():
    surface = {name for name in vars(Desk) if not name.startswith("_")}
    assert surface <= set(dir(FakeDesk()))
