import json
import re
from pathlib import Path

import pytest

from orchestrator.gateway.answer_headers import ALONE, NOT_ITS_OWN
from orchestrator.gateway.asked import KEPT_BACK
from orchestrator.gateway.edge.configuration import (
    PARTS,
    Surroundings,
    files,
    for_compose,
    told,
    warm_calls,
)
from tests.scenarios.daemon import ROOT

AT = Surroundings(
    directory=Path("/run/edge"),
    host="127.0.0.1",
    port=8080,
    workers=2,
    connections=1000,
    files=2000,
    user=None,
    modules=Path("/usr/lib/nginx/modules"),
    lua_c=Path("/usr/lib/lua/5.1"),
    body_bytes_max=4096,
)


def test_nothing_is_left_to_be_filled_in():
    for name, text in files(AT).items():
        if name != "told.json":
            assert not re.search(r"@[A-Z_]+@", text), name


@pytest.mark.parametrize(
    ("host", "line"), [("10.0.0.1", "listen 10.0.0.1:8080 "), ("::1", "listen [::1]:8080 ")]
)
def test_it_listens_where_it_is_told_to(host, line):
    from dataclasses import replace  # noqa: PLC0415

    assert line in files(replace(AT, host=host))["nginx.conf"]


def test_what_names_its_model_in_a_json_object_is_carried():
    paths = warm_calls()
    assert {"/v1/chat/completions", "/v1/messages", "/tokenize", "/v1/embeddings"} <= {*paths}
    # Forms, and answers that are asked on with, are the relay's.
    assert not {"/v1/audio/transcriptions", "/v1/responses", "/v1/streams/lookup"} & {*paths}
    locations = files(AT)["warm.conf"]
    assert locations.count("client_max_body_size 4096;") == len(paths)
    assert "location = /v1/messages {" in locations


@pytest.mark.parametrize("name", for_compose())
def test_the_nginx_of_the_compose_stack_knows_the_same(name):
    assert (ROOT / "nginx" / name).read_text() == for_compose()[name], "run `make references`"


def test_what_it_says_is_what_the_relay_says():
    said = json.loads(json.dumps(told()))
    assert said["calls"]["/v1/messages"]["broken"].startswith("\n\nevent: error\ndata: {")
    assert "The server of @model@ ended" in said["calls"]["/v1/messages"]["broken"]
    assert json.loads(said["unavailable"])["code"] == "unavailable"


def test_no_header_reaches_a_server_that_the_relay_keeps_back():
    text = (PARTS / "warm_location.conf").read_text().lower()
    dropped = {name.encode() for name in re.findall(r'proxy_set_header ([a-z-]+) "";', text)}
    # nginx writes these itself, for its own hop; a server's own key is none of the client's.
    own = {b"host", b"content-length", b"transfer-encoding", b"connection", b"authorization"}
    assert "proxy_set_header authorization $edge_bearer;" in text
    assert KEPT_BACK - own == dropped - own


def test_no_header_of_a_server_reaches_a_client_that_the_relay_leaves_out():
    text = (PARTS / "warm_location.conf").read_text().lower()
    assert {name.encode() for name in re.findall(r"proxy_hide_header ([a-z-]+);", text)} == (
        NOT_ITS_OWN
    )
    for name, value in ALONE:
        assert f"add_header {name.decode()} {value.decode()} always;" in text


def test_nginx_never_makes_a_success_of_a_failure():
    for part in PARTS.glob("*.conf*"):
        assert not re.search(r"error_page[^;]*=\s*2", part.read_text())
