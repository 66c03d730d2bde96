"""The file of routes for an nginx that starts while no daemon runs."""

import asyncio

from orchestrator.gateway.edge.kept_routes import BOOT_ID, FILE, KeptRoutes


def test_it_is_of_this_boot_and_for_nginx_and_the_daemon_alone(tmp_path):
    asyncio.run(KeptRoutes(tmp_path).keep("{}"))
    assert (tmp_path / FILE).read_text() == f"{BOOT_ID.read_text().strip()}\n{{}}\n"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o640


def test_what_has_not_changed_is_not_written_again(tmp_path):
    kept = KeptRoutes(tmp_path)

    async def scene():
        await kept.keep("{}")
        (tmp_path / FILE).unlink()
        await kept.keep("{}")
        assert not (tmp_path / FILE).exists()
        await kept.keep("[]")
        assert (tmp_path / FILE).exists()

    asyncio.run(scene())


def test_where_it_cannot_be_written_there_is_none_and_it_is_said_once(tmp_path, caplog):
    kept = KeptRoutes(tmp_path / "gone")

    async def scene():
        for text in ("{}", "[]"):
            await kept.keep(text)

    asyncio.run(scene())
    assert len(caplog.records) == 1
    (tmp_path / "gone").mkdir()
    asyncio.run(kept.keep("[]"))
    assert (tmp_path / "gone" / FILE).read_text().endswith("[]\n")
