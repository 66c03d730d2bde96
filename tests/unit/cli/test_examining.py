import json

from orchestrator.cli.main import main


def test_doctor_says_one_line_for_each_thing(tmp_path, capsys):
    file = tmp_path / "o.yaml"
    file.write_text("server: {port: 0}\n")
    assert main(["doctor", "--config", str(file)]) == 0
    assert capsys.readouterr().out.startswith("ok ")
    assert main(["doctor", "--config", str(file), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["findings"]) > 5
