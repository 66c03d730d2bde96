"""`make up` before it comes to Docker: what it writes into .env, asks for and says."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UP_S = 30.0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With a Docker that writes down what it is asked."""
    shutil.copy(ROOT / ".env.example", tmp_path)
    (tmp_path / "models" / "b").mkdir(parents=True)
    for name in ("b/two.gguf", "mmproj-one.gguf", "one.gguf"):
        (tmp_path / "models" / name).write_text("GGUF")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    docker.chmod(0o755)
    return tmp_path


def up(checkout: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    path = os.environ["PATH"]  # noqa: TID251 - as from a shell
    return subprocess.run(
        [ROOT / "deploy" / "up.sh"],
        cwd=checkout,
        env={"PATH": f"{checkout}/bin:{path}", **settings},
        capture_output=True,
        text=True,
        timeout=UP_S,
        check=False,
    )


def environment(checkout: Path) -> dict[str, str]:
    lines = (checkout / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def asked(checkout: Path) -> list[str]:
    lines = (checkout / "asked").read_text().splitlines()
    return [line for line in lines if line.startswith("compose up")]


def test_env_is_made_of_the_example_and_the_stack_brought_up(checkout: Path) -> None:
    done = up(checkout, MODELS="models", PROFILE="cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert environment(checkout) | {
        "COMPOSE_PROFILES": "cpu",
        "MODELS_DIR": f"{checkout}/models",
        "MODEL_PATH": "b/two.gguf",
    } == environment(checkout)
    assert asked(checkout) == ["compose up --no-start llama-cpp-cpu", "compose up -d"]
    assert "orchestrator doctor" in done.stdout


def test_an_env_that_is_there_stays(checkout: Path) -> None:
    text = f"COMPOSE_PROFILES=gpu,n8n\nMODELS_DIR={checkout}/models\nMODEL_PATH=none.gguf\n"
    (checkout / ".env").write_text(text)
    done = up(checkout, MODELS="elsewhere")
    assert done.returncode == 0
    assert (checkout / ".env").read_text() == text
    assert "MODELS is not used" in done.stdout
    assert "none.gguf is not in" in done.stdout
    assert asked(checkout) == ["compose up --no-start llama-cpp", "compose up -d"]


def test_files_that_the_containers_may_not_read_are_said(checkout: Path) -> None:
    (checkout / "models" / "one.gguf").chmod(0o640)
    done = up(checkout, MODELS="models", PROFILE="cpu", MODEL="one.gguf")
    assert f"may not read {checkout}/models/one.gguf: chmod" in done.stdout
    assert environment(checkout)["MODEL_PATH"] == "one.gguf"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "say where your models are"),
        ({"MODELS": "none"}, "there is no folder none"),
        ({"MODELS": "a:b"}, "a comma or a colon"),
    ],
)
def test_what_it_cannot_go_on_with_is_said_and_nothing_is_written(
    checkout: Path, settings: dict[str, str], why: str
) -> None:
    (checkout / "a:b").mkdir()
    done = up(checkout, **settings)
    assert done.returncode == 1
    assert why in done.stderr
    assert not (checkout / ".env").exists()


def test_a_docker_that_does_not_answer_is_said_first(checkout: Path) -> None:
    (checkout / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    done = up(checkout, MODELS="models")
    assert done.returncode == 1
    assert "Docker does not answer" in done.stderr
