"""One target under atheris: `python -m fuzzing.guided TARGET [options of libFuzzer]`.

It ends the process itself: with 0 when the budget is spent, with anything else at a finding.
"""

import sys

import atheris

with atheris.instrument_imports(include=["orchestrator"]):
    from fuzzing.targets import TARGETS

if __name__ == "__main__":
    program, name, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[name].check)
    atheris.Fuzz()
