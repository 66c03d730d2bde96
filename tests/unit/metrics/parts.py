"""A desk whose figures are read: what Prometheus would have of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.access.audit.lines import Head
from orchestrator.metrics.exposition import Exposition
from tests.unit.web.office import Office

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


def samples(text: bytes) -> Samples:
    """By name and labels. Raise ValueError for what is no exposition, or says a thing twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            key = one.name, tuple(sorted(one.labels.items()))
            if key in found:
                raise ValueError(f"{key} is there twice")
            found[key] = one.value
    return found


class Figured(Office):
    """An office whose figures are counted from its opening on."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.exposition = Exposition(
            self.desk, self.conductor, "1.2.3", lambda: Head(812, "9f2b5a1c" * 8)
        )
        return self

    def names(self) -> set[str]:
        """Of all families, as they are asked for in Prometheus; counters with their suffix."""
        text = self.run(self.exposition.text()).decode()
        return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))

    def samples(self) -> Samples:
        return samples(self.run(self.exposition.text()))

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))


@contextmanager
def figured(directory: Path, **more: Any) -> Iterator[Figured]:
    with Figured(directory, **more) as office:
        yield office
