import pytest

from orchestrator.orders import LoadOrder, example_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def refused(office):
    def send(content, path="/models/load", method="POST"):
        answer = office.asked(method, path, content=content, headers=JSON)
        assert answer.status_code == 422, answer.text
        body = answer.json()
        assert body["code"] == "invalid"
        return body

    return send


def test_empty_body_is_answered_with_a_hint(refused):
    body = refused(b"")
    assert body["detail"] == "The body is empty."
    assert body["example"] == example_of(LoadOrder)
    assert '{"model":"qwen3-vl-30b"' in body["error"]["message"]


def test_no_body_and_no_type_get_the_same_hint(office):
    answer = office.asked("POST", "/models/load")
    assert (answer.status_code, answer.json()["detail"]) == (422, "The body is empty.")


@pytest.mark.parametrize("content", [b"null", b"[]", b'"a"', b"7", b"true"])
def test_body_that_is_no_object(refused, content):
    assert refused(content)["detail"] == "The body is not a JSON object."


def test_unknown_field_names_the_nearest_known_one(refused):
    body = refused(b'{"model": "a", "ttl_second": 5, "zzz": 1}')
    assert body["mistakes"] == [
        {"field": "ttl_second", "message": "is not known; did you mean ttl_seconds?"},
        {
            "field": "zzz",
            "message": "is not known; known are cache_type, callback_url, context_size, "
            "evict, gpu_layers, lease_seconds, lora_scales, model, owner, pin, priority, profile, service, ttl_seconds, wait",
        },
    ]
    assert body["detail"].startswith("ttl_second is not known; did you mean ttl_seconds? zzz is")


def test_every_mistake_is_named_at_once(refused):
    body = refused(b'{"priority": "x", "wait": -1, "context_size": 0, "pin": "maybe"}')
    assert [each["field"] for each in body["mistakes"]] == [
        "model",
        "priority",
        "wait",
        "context_size",
        "pin",
    ]


@pytest.mark.parametrize(
    "field",
    [
        b'"priority": true',
        b'"priority": 1.5',
        b'"priority": ""',
        b'"priority": 99999999999999999999999',
        b'"wait": "soon"',
        b'"wait": "nan"',
        b'"wait": 1e9',
        b'"wait": []',
        b'"ttl_seconds": -1',
        b'"ttl_seconds": "inf"',
        b'"lease_seconds": 0',
        b'"lease_seconds": false',
        b'"owner": ""',
        b'"owner": 5',
        b'"service": {}',
        b'"model": "' + b"x" * 10_000 + b'"',
        b'"model": "\\ud800"',
    ],
)
def test_value_of_the_wrong_kind(refused, field):
    body = refused(b'{"model": "a", ' + field + b"}")
    assert len(body["detail"]) < 500


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"model": "a"', "at character 13"),
        (b"{'model': 'a'}", "at character 1"),
        (b'{"model": "\xff"}', "not UTF-8 at character 11"),
        (b'{"model": "a", "wait": NaN}', "NaN is not JSON at character 23"),
        (b'{"model": "a", "wait": -Infinity}', "-Infinity is not JSON"),
        (b'{"model": "a", "wait": 1e999}', "number out of range"),
        (b'{"wait": ' + b"9" * 5000 + b"}", "number too long"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
    ],
)
def test_malformed_json_is_told_with_its_place(refused, content, complaint):
    body = refused(content)
    assert complaint in body["detail"]
    assert body["detail"].startswith("The body is not JSON: ")


def test_half_a_character_in_a_field_name_is_refused(refused):
    body = refused(b'{"model": "a", "\\ud800": 1}')
    assert "unicode" in body["detail"]


def test_a_body_of_any_keys_is_parsed_as_strictly(refused):
    assert "nested too deeply" in refused(b"[" * 99 + b"]" * 99, "/models/c", "PUT")["detail"]


def test_mistakes_in_the_query_are_named(office):
    answer = office.asked("GET", "/events?limit=x&before=-1&kind=lod")
    fields = [each["field"] for each in answer.json()["mistakes"]]
    assert (answer.status_code, sorted(fields)) == (422, ["before", "kind", "limit"])


def test_mistakes_of_a_file_are_bounded_and_end_as_sentences(office):
    office.mistakes = ("a.yaml:1: wrong", "a.yaml:2: " + "x" * 9999, *["more."] * 100)
    body = office.asked("POST", "/admin/reload").json()
    assert body["detail"].startswith("a.yaml:1: wrong. a.yaml:2: xxx")
    assert len(body["mistakes"]) == 50
    assert len(body["mistakes"][1]["message"]) == 501
