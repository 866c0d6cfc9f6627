"""Run the full workflow for one family: add tasks, run, report, predict, export, load with plain PEFT."""

from __future__ import annotations

import contextlib
import io
import json
import random
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
import transformers
import yaml
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lori_cl.cli.main import main
from lori_cl.errors import LoriError
from lori_cl.evaluation import load_run
from lori_cl.registry import Workspace
from lori_cl.tasks import kind_of
from lori_cl.tasks.kinds.likelihood import choice_scores

from .configs import SPECIAL, WORDS, Family

ENCODER_TASK = {"kind": "classification", "labels": ["red", "blue"]}
LABEL_WORDS_TASK = {**ENCODER_TASK, "prompt": "{{ text }}", "label_words": [" red good", " blue"]}
MULTIPLE_CHOICE_TASK = {
    "kind": "multiple_choice",
    "prompt": "{{ text }}",
    "choices": ["red good", "blue"],
    "answer": "{{ 0 if label == 'red' else 1 }}",
}
GENERATION_TASK = {"kind": "generation", "prompt": "{{ text }}", "answer": "{{ label }}", "max_new_tokens": 3}

PROMPT_TASKS = {"one": LABEL_WORDS_TASK, "two": GENERATION_TASK, "three": MULTIPLE_CHOICE_TASK}
TASKS = {
    "AutoModel": {"one": ENCODER_TASK, "two": ENCODER_TASK},
    "AutoModelForCausalLM": PROMPT_TASKS,
    "AutoModelForSeq2SeqLM": PROMPT_TASKS,
}
WRAPS = {"AutoModel": "[CLS] $A [SEP]", "AutoModelForCausalLM": None, "AutoModelForSeq2SeqLM": "$A [EOS]"}
"""The special tokens that a tokenizer adds around a text."""
ROUNDING = 1e-4


class Refused(Exception):
    """lori-cl refused the family with a one-line error."""


class Fault(Exception):
    """A behaviour that is a bug."""


def write_tokenizer(folder: Path, wraps: str | None) -> None:
    """Save a word-level tokenizer; `wraps` is a template of special tokens around a text.

    It pads on the left, which encoders must override.
    """
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    if wraps:
        ends = [(token, vocabulary[token]) for token in wraps.split() if token in vocabulary]
        plain.post_processor = processors.TemplateProcessing(single=wraps, special_tokens=ends)
    names = {
        f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "bos", "eos", "cls", "sep", "mask")
    }
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, padding_side="left", **names)
    wrapped.save_pretrained(folder)


def write_base(folder: Path, family: Family) -> None:
    """Save a random model of the family with its tokenizer."""
    torch.manual_seed(0)
    config = family.config()
    getattr(transformers, family.auto).from_config(config).save_pretrained(folder)
    write_tokenizer(folder, WRAPS[family.auto])


def write_task(root: Path, name: str, fields: dict[str, Any]) -> Path:
    """Write a task whose texts have 3 to 12 tokens."""
    draw = random.Random(name)
    for split, count, begin in (("train", 8, "it is"), ("test", 8, "is it")):
        rows = []
        for i in range(count):
            label = ("red", "blue")[i % 2]
            rest = " ".join(draw.choice(WORDS[5:10]) for _ in range(1 + draw.randrange(9)))
            rows.append(json.dumps({"text": f"{begin} {label} {rest}", "label": label}) + "\n")
        (root / name).mkdir(exist_ok=True)
        (root / name / f"{split}.jsonl").write_text("".join(rows))
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, "source": {"local": name}, **fields}))
    return file


def call(root: Path, *args: object) -> str:
    """Run a command of lori-cl; return its output.

    Raises: Refused: a one-line error; Fault: any other exception, with its traceback.
    """
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = main(["--workspace", str(root), *map(str, args)], standalone_mode=False)
    except (LoriError, click.ClickException) as error:
        raise Refused(str(error)) from error
    except Exception as error:
        raise Fault(f"{args[0]}: {traceback.format_exc()}") from error
    if code:
        raise Fault(f"{args[0]} ended with {code}")
    return out.getvalue()


def try_family(root: Path, family: Family) -> str:
    """Run the full workflow of one family; return a short result.

    Raises: Refused; Fault.
    """
    write_base(root / "base", family)
    call(root, "init")
    tasks = TASKS[family.auto]
    call(root, "add-task", *(write_task(root, name, fields) for name, fields in tasks.items()))
    write_curriculum(root, list(tasks))
    call(root, "run", root / "curriculum.yaml", "--name", "r")
    call(root, "run", root / "curriculum.yaml", "--name", "r")
    for command in (["report", "r"], ["capacity", "r"], ["runs", "r"], ["verify", "r"]):
        call(root, *command)
    check_predictions(root, list(tasks))
    check_batches(root)
    check_export(root, family, next(iter(tasks)))
    return "works"


def write_curriculum(root: Path, tasks: Sequence[str]) -> None:
    """Write a curriculum with dense masks, so that an untrained site is detected."""
    curriculum = {
        "name": "family",
        "model": {"path": str(root / "base")},
        "tasks": list(tasks),
        "adapter": {"rank": 4, "alpha": 8},
        "masks": {"strategy": "random", "density": 0.3},
        "train": {"epochs": 2, "batch_size": 4, "lr": 0.02, "max_length": 48},
        "eval": {"batch_size": 4},
    }
    (root / "curriculum.yaml").write_text(yaml.safe_dump(curriculum))


def _loaded(root: Path) -> Any:
    workspace = Workspace(root, None)
    with workspace.read() as registry:
        return load_run(workspace, registry, "r")


def check_predictions(root: Path, tasks: Sequence[str]) -> None:
    """Check that `predict`, with mixed tasks, gives every eval example the answer that `run` scored."""
    scored = dict(_scored(root))
    lines = []
    for task in tasks:
        rows = [json.loads(line) for line in (root / task / "test.jsonl").read_text().splitlines()]
        lines += [json.dumps({**row, "task": task}) for row in rows]
    random.Random(0).shuffle(lines)
    (root / "requests.jsonl").write_text("\n".join(lines) + "\n")
    answered = call(root, "predict", "r", "--file", root / "requests.jsonl")
    found: dict[str, dict[str, str]] = {}
    for line in map(json.loads, answered.splitlines()):
        found.setdefault(line["task"], {})[line["input"]["text"]] = line["answer"]
    for task in tasks:
        if found[task] != scored[task]:
            raise Fault(f"predict answers {task} with {found[task]}, and run scored {scored[task]}")


def _scored(root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    workspace = Workspace(root, None)
    with workspace.read() as registry:
        for evaluation in registry.evaluations("r"):
            if evaluation.view == "as_trained":
                content = workspace.artifacts.get(evaluation.answers, "jsonl").decode()
                texts = (root / evaluation.task / "test.jsonl").read_text().splitlines()
                lines = [json.loads(line) for line in content.splitlines()]
                yield (
                    evaluation.task,
                    {json.loads(texts[entry["id"]])["text"]: entry["answer"] for entry in lines},
                )


@torch.inference_mode()
def check_batches(root: Path) -> None:
    """Check that batches of one and of eight give equal answers, and equal scores up to rounding."""
    loaded = _loaded(root)
    for eval_task in loaded.eval_tasks:
        loaded.method.activate(loaded.acting(eval_task.label))
        stage = loaded.history[loaded.position(eval_task.label)]
        kind = kind_of(eval_task.spec)
        learner = kind.learner(loaded.model, stage.head).eval()
        size = min(eval_task.batch_size, 8) if not loaded.base.ignores_padding else 8
        answers, scores = (
            [
                part
                for start in range(0, 8, n)
                for part in _answers_and_scores(loaded, eval_task, learner, start, n)
            ]
            for n in (1, size)
        )
        for (one, logits), (other, more) in zip(answers, scores, strict=True):
            difference = (
                float((logits - more).abs().max() / logits.abs().max().clamp(min=1)) if len(logits) else 0.0
            )
            if one != other or difference > ROUNDING:
                raise Fault(
                    f"{eval_task.label}: {one!r} alone and {other!r} in a batch, off by {difference:g}"
                )


def _answers_and_scores(
    loaded: Any, eval_task: Any, learner: Any, start: int, n: int
) -> list[tuple[str, torch.Tensor]]:
    """Return (answer, logits or log-likelihoods) of n examples in one batch."""
    examples = eval_task.examples[start : start + n]
    kind, tokenizer = kind_of(eval_task.spec), loaded.base.tokenizer
    answers = kind.answers(eval_task.spec, learner, tokenizer, examples, eval_task.max_length)
    if eval_task.spec.kind == "generation":
        return [(answer, torch.zeros(0)) for answer in answers]
    prompts = eval_task.prompts(tokenizer, examples)
    if kind.architecture == "causal-lm":
        words = [e.choices or eval_task.spec.words for e in examples]
        tokens = [[tokenizer(w, add_special_tokens=False)["input_ids"] for w in of] for of in words]
        return list(zip(answers, choice_scores(learner, tokenizer, prompts, tokens), strict=True))
    batch = eval_task.prompt_batch(tokenizer, examples, loaded.model.device)
    return list(zip(answers, learner(**batch)["logits"], strict=True))


@torch.inference_mode()
def check_export(root: Path, family: Family, task: str) -> None:
    """Check that the exported adapter changes the outputs of the plain base model in PEFT.

    Merged into the base model, it gives the same outputs without PEFT, up to rounding.
    """
    call(root, "export", "r", "--task", task, "--out", root / "out")
    call(root, "export", "r", "--task", task, "--merged", "--out", root / "merged")
    base = getattr(transformers, family.auto).from_pretrained(root / "base").eval()
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if family.auto == "AutoModelForSeq2SeqLM":
        batch["decoder_input_ids"] = ids
    before = base(**batch)[0].clone()
    after = PeftModel.from_pretrained(base, root / "out").eval()(**batch)[0]
    if torch.equal(before, after):
        raise Fault("the exported adapter changes nothing")
    merged = getattr(transformers, family.auto).from_pretrained(root / "merged").eval()
    difference = (merged(**batch)[0] - after).abs().max()
    if float(difference / after.abs().max().clamp(min=1)) > ROUNDING:
        raise Fault(f"the merged model's outputs differ by {float(difference):g}")
