from orchestrator.access.caller import THE_DAEMON, Caller, Via


def test_limit_applies_to_the_key_before_the_address_before_the_way_in():
    address = "192.0.2.7"
    assert Caller(key="abcd1234", address=address, via=Via.HTTP).identity == "abcd1234"
    assert Caller(address=address, via=Via.HTTP).identity == address
    assert THE_DAEMON.identity == "daemon"
