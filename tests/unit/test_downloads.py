from orchestrator.downloads import HEARD_S_MAX, RATE_S, Downloads
from orchestrator.hub import Phase, Progress

SOURCE = "org/Small-GGUF:Q8_0"


class Time:
    s = 100.0

    def __call__(self) -> float:
        return self.s


def arriving(done, **more):
    said = {"phase": Phase.DOWNLOADING, "file": "small.gguf", "total_bytes": 900} | more
    return Progress(done_bytes=done, **said)


def test_it_is_there_as_long_as_it_is_brought():
    downloads = Downloads(Time())
    with downloads.one(SOURCE):
        (one,) = downloads.all()
        assert (one.source, one.file, one.started_s) == (SOURCE, SOURCE, 100)
        assert (one.done_bytes, one.total_bytes, one.rate) == (0, None, None)
    assert downloads.all() == ()


def test_it_is_called_after_the_first_of_its_files():
    downloads = Downloads(Time())
    with downloads.one(SOURCE) as one:
        one.hear(Progress(phase=Phase.ASKING))
        assert one.now.file == SOURCE
        one.hear(arriving(1))
        one.hear(arriving(2, file="mmproj.gguf"))
        assert (one.now.file, one.now.done_bytes, one.now.total_bytes) == ("small.gguf", 2, 900)


def test_the_rate_is_that_of_what_arrives():
    time = Time()
    with Downloads(time).one(SOURCE) as one:
        one.hear(arriving(400, phase=Phase.CHECKING))
        one.hear(arriving(400))
        assert one.now.rate is None
        time.s += RATE_S
        one.hear(arriving(600))
        assert one.now.rate == 200 / RATE_S
        time.s += HEARD_S_MAX + 1
        assert one.now.rate is None, "it is too old"
        one.hear(arriving(600, phase=Phase.PAUSED, detail="The hub is busy."))
        assert (one.now.rate, one.now.detail) == (None, "The hub is busy.")
