"""The container recipe is not built in tests; what it says is held against the package and the command line."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from recon.version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:  # the recipe does not depend on who reads it
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "openrecon"


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of every instruction of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in found]


def arguments(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_everything_the_wheel_is_made_of_is_copied_and_nothing_else() -> None:
    copied = [word for line in arguments("COPY") for word in shlex.split(line)[:-1]]
    settings = project()
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", *settings["project"]["license-files"]}
    wanted.add(settings["project"]["readme"])
    assert set(copied) == wanted
    for word in copied:
        assert (ROOT / word).exists(), word
    assert settings["tool"]["hatch"]["version"]["path"].split("/")[0] in copied
    for line in arguments("COPY"):  # a folder's content goes into a folder of its name, not beside the others
        *sources, target = shlex.split(line)
        assert target == "./" or sources == [target], line


def test_python_and_torch_fit_the_package() -> None:
    version = re.match(r"python:3\.(\d+)-slim", arguments("FROM")[0])
    assert version is not None
    lowest = re.match(r">=3\.(\d+)", project()["project"]["requires-python"])
    assert lowest is not None
    assert int(version[1]) >= int(lowest[1])
    both, own = (line.split() for line in arguments("RUN") if "pip install" in line)
    assert {"torch", "torchvision"} <= set(both), "torchvision of another build does not load"
    assert both[-2:] == ["--index-url", '"$TORCH_INDEX"']
    assert arguments("ARG") == ["TORCH_INDEX=https://download.pytorch.org/whl/cpu"]
    assert own[-1] == "."
    assert any(word.startswith("torch>=") for word in project()["project"]["dependencies"])


def test_the_command_is_one_that_recon_knows(run_cli) -> None:
    entry, more = json.loads(arguments("ENTRYPOINT")[0]), json.loads(arguments("CMD")[0])
    assert entry[0] in project()["project"]["scripts"]
    # The last option stops it after every option before has been understood.
    refused = run_cli(*entry[1:], *more, "--monitor", "none.json")
    assert refused.code == 2
    assert "--save DIR" in refused.err
    assert run_cli(*entry[1:], *more, "--no-such-option").code == 2
    port = entry[entry.index("--port") + 1]
    assert arguments("EXPOSE") == [port]
    assert "0.0.0.0" in entry  # within a container, loopback is nobody's
    assert arguments("USER") == ["recon"]
    label = json.loads((FOLDER / "label.json").read_text("utf-8"))
    assert str(label["reconstruction"]["port"]) == port


def test_the_label_says_what_is_installed() -> None:
    label = json.loads((FOLDER / "label.json").read_text("utf-8"))
    assert label["general"]["version"] == label["general"]["regulatory_information"]["production_identifier"]
    assert label["general"]["version"] == __version__
    assert (label["reconstruction"]["emitter"], label["reconstruction"]["injector"]) == ("raw", "image")
    assert label["reconstruction"]["content_qualification_type"] == "RESEARCH"
    for parameter in label["parameters"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", parameter["id"])
        assert parameter["default"] in [value["id"] for value in parameter["values"]]


def test_what_the_readme_tells_to_run_is_there(run_cli) -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    assert "docker build -f examples/openrecon/Dockerfile" in text
    for command in ("serve", "send"):
        helped = run_cli(command, "--help")
        assert helped.code == 0
        for option in re.findall(rf"recon {command}[^`]*?(--[a-z-]+)", text):
            assert option in helped.out
