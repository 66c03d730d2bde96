"""A field of a form is found between its files, and no form takes long to look through."""

import time

import pytest

from orchestrator.gateway.forms import HEAD_BYTES_MAX, PARTS_MAX, field
from tests.pace import crowd

KIND = b"multipart/form-data; boundary=x"
QUICK_S = 2.0  # of 30 MB; what is not linear takes hours


def part(name, value=b"v", more=b""):
    return b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, value)


@pytest.mark.parametrize(
    "body",
    [
        part(b"file", b"\0" * 9, b'; filename="a"') + part(b"model", b"whisper") + b"--x--\r\n",
        part(b"model", b"whisper") + part(b"model", b"other") + b"--x--",
        b"--x\nContent-Type: text/plain\ncontent-disposition: form-data; name=model\n\nwhisper\n--x--",
        b"before\r\n" + part(b"model", b"whisper", b'; filename="model"') + b"--x--",
        part(b"file", b'Content-Disposition: form-data; name="model"\r\n\r\nevil\r\n--y\r\n')
        + part(b"model", b"whisper")
        + b"--x--",
    ],
)
def test_field_is_found(body):
    assert field("model", body, KIND) == "whisper"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"multipart/form-data", part(b"model") + b"--x--"),
        (b"multipart/form-data; boundary=y", part(b"model") + b"--x--"),
        (KIND, part(b"models") + b"--x--"),
        (KIND, part(b"model")),
        (
            KIND,
            b"--x\r\nX-Long: " + b"y" * HEAD_BYTES_MAX + b"\r\n" + part(b"model")[5:] + b"--x--",
        ),
        (KIND, b""),
        (KIND, part(b"a") * PARTS_MAX + part(b"model") + b"--x--"),
    ],
)
def test_field_is_not_there(kind, body):
    assert field("model", body, kind) is None


def test_boundary_may_be_quoted():
    kind = b'multipart/form-data; Boundary="x"'
    assert field("model", part(b"model", b"a") + b"--x--", kind) == "a"


@pytest.mark.parametrize(
    "body",
    [
        (b"\r\ncontent-disposition:" + b";name=model" * 2000) * 1400,
        b"\r\ncontent-disposition: form-data; name=model\r\n" + b"a: b\r\n" * 5_000_000,
        b"--x\r\ncontent-disposition:" + b";name=model" * 3_000_000,
        b"--x" * 10_000_000,
        b"\n--x\n\n" * 5_000_000,
        b"--x\r\n" * 6_000_000,
    ],
)
def test_no_form_takes_long(body):
    began_s = time.perf_counter()
    field("model", body, KIND)
    assert time.perf_counter() - began_s < QUICK_S * crowd()
