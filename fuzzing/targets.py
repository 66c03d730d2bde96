"""What is fuzzed, by name."""

from collections.abc import Mapping

from fuzzing import configuration, gguf_file, request_bodies, web_guard
from fuzzing.mutations import Target

TARGETS: Mapping[str, Target] = {
    "gguf": gguf_file.TARGET,
    "guard": web_guard.TARGET,
    "yaml": configuration.TARGET,
    "bodies": request_bodies.TARGET,
}
