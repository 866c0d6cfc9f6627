"""An export is converted to a GGUF LoRA by llama.cpp's converter; a small script plays it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace as ApiWorkspace
from lori_cl.errors import InputError, LoriError
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.export import add_gguf, export
from lori_cl.serving.gguf_lora import VARIABLE, find_converter
from lori_cl.spec import ModelSpec

CONVERTER = """
import json, pathlib, sys
folder, _, base, _, out = sys.argv[1:]
assert sys.argv[2::2] == ["--base", "--outfile"], sys.argv
config = json.loads((pathlib.Path(base) / "config.json").read_text())
adapter = json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())
pathlib.Path(out).write_bytes(b"GGUF" + json.dumps([config["architectures"], adapter["r"]]).encode())
"""
FAILING = "import sys; print('Traceback', file=sys.stderr); sys.exit('Model Foo is not supported')"


@pytest.fixture
def converter(tmp_path: Path) -> Path:
    file = tmp_path / "convert_lora_to_gguf.py"
    file.write_text(CONVERTER)
    return file


def test_converter_is_called_with_the_export_and_the_base(
    generation_run: LoadedRun, tmp_path: Path, converter: Path
) -> None:
    done = add_gguf(generation_run, export(generation_run, "say", tmp_path / "out"), converter)
    assert done.gguf == tmp_path / "out" / "adapter.gguf"
    assert done.gguf_steps == ()
    content = done.gguf.read_bytes()
    assert (content[:4], json.loads(content[4:])) == (b"GGUF", [["LlamaForCausalLM"], 4])


def test_configuration_of_a_base_that_is_no_folder_is_written_for_the_converter(
    generation_run: LoadedRun, tmp_path: Path, converter: Path
) -> None:
    curriculum = generation_run.curriculum.model_copy(update={"model": ModelSpec(path="org/model")})
    run = replace(generation_run, curriculum=curriculum)
    done = add_gguf(run, export(generation_run, "say", tmp_path / "out", verify=False), converter)
    assert done.gguf is not None
    assert json.loads(done.gguf.read_bytes()[4:])[0] == ["LlamaForCausalLM"]
    steps = add_gguf(run, done, None).gguf_steps
    assert "--base-model-id org/model" in steps[-1]


def test_without_a_converter_the_steps_are_returned(
    generation_run: LoadedRun, tmp_path: Path, tiny_causal_lm: Path
) -> None:
    folder = tmp_path / "my out"
    done = add_gguf(generation_run, export(generation_run, "say", folder, verify=False), None)
    assert done.gguf is None
    assert shlex.split(done.gguf_steps[-1]) == [
        *("python", "llama.cpp/convert_lora_to_gguf.py", str(folder), "--base", str(tiny_causal_lm)),
        *("--outfile", str(folder / "adapter.gguf")),
    ]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (FAILING, "conversion to GGUF failed with exit code 1: Model Foo is not supported; .* has the PEFT"),
        ("", "wrote no GGUF file to .*adapter.gguf; .* has the PEFT adapter"),
    ],
)
def test_failing_converter_is_a_one_line_error_and_the_export_is_kept(
    generation_run: LoadedRun, tmp_path: Path, converter: Path, script: str, message: str
) -> None:
    converter.write_text(script)
    done = export(generation_run, "say", tmp_path / "out", verify=False)
    with pytest.raises(LoriError, match=message):
        add_gguf(generation_run, done, converter)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_converter_is_the_given_one_that_of_the_variable_or_that_on_the_path(
    tmp_path: Path, converter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert find_converter(None) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    converter.chmod(0o755)
    assert find_converter(None) == converter
    other = tmp_path / "other.py"
    other.write_text("")
    monkeypatch.setenv(VARIABLE, str(other))
    assert find_converter(None) == other
    assert find_converter(Path(sys.executable)) == Path(sys.executable)
    with pytest.raises(InputError, match=r"--gguf-converter .*no.py' is not a file"):
        find_converter(tmp_path / "no.py")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no.py"))
    with pytest.raises(InputError, match=f"{VARIABLE} .*no.py' is not a file"):
        find_converter(None)


def test_contradicting_arguments_are_refused_before_the_run_is_loaded(tmp_path: Path) -> None:
    run = Run(ApiWorkspace(tmp_path / "w"), "run")
    with pytest.raises(InputError, match="writes full weights; give one of the two"):
        run.export("a", tmp_path / "out", merged=True, gguf_lora=True)
    with pytest.raises(InputError, match="no GGUF LoRA requested; add --gguf-lora"):
        run.export("a", tmp_path / "out", gguf_converter="x.py")
    with pytest.raises(InputError, match="is not a file"):
        run.export_all(tmp_path / "out", gguf_lora=True, gguf_converter=tmp_path / "x.py")


def test_command_prints_the_file_or_the_steps(
    generation_run: LoadedRun,
    tmp_path: Path,
    converter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from click.testing import CliRunner

    from lori_cl.cli.main import main

    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(VARIABLE, raising=False)
    words = ["--workspace", str(generation_run.workspace.root), "export", "run", "--task", "say"]
    words += ["--no-verify", "--gguf-lora", "--out"]
    steps = CliRunner().invoke(main, [*words, str(tmp_path / "one")])
    assert "convert_lora_to_gguf.py was not found. To write one:\n  git clone" in steps.output
    done = CliRunner().invoke(main, [*words, str(tmp_path / "two"), "--gguf-converter", str(converter)])
    assert f"--lora {tmp_path / 'two' / 'adapter.gguf'}" in done.output
    assert (tmp_path / "two" / "adapter.gguf").is_file()
