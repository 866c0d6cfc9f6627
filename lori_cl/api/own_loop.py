"""The adapter for a training loop of your own, with any Trainer: `get_lori_model`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters import read_weights, save_peft, select_sites, task_type_of, tensors_digest
from lori_cl.api.calibration import Batches, Calibration, no_examples
from lori_cl.api.curriculum import Curriculum
from lori_cl.digest import derive_seed
from lori_cl.errors import ArtifactDamaged, ArtifactMissing, InputError, LoriError, WorkspaceUnusable
from lori_cl.evaluation.stage_file import read_stage, stage_bytes
from lori_cl.masks import Ledger
from lori_cl.methods import StageContext, StageState
from lori_cl.methods.lori import LoRI as LoRIMethod
from lori_cl.registry import MaskRecord, write_durably
from lori_cl.spec import View
from lori_cl.spec.base import RUN_NAME
from lori_cl.spec.method_settings import LoRI
from lori_cl.strict_json import InvalidJSON, parse_json

log = logging.getLogger(__name__)

MANIFEST = "lori.json"
FORMAT = 1
SEEDS = ("mask", "projection")


@dataclass(frozen=True)
class OpenStage:
    """A stage whose cells are trainable."""

    task: str
    mask: MaskRecord
    """The cells that the task was given: their number, density and digest."""
    _parameters: Sequence[nn.Parameter]

    def parameters(self) -> list[nn.Parameter]:
        """What an optimizer trains: one 1-D parameter for each site that has cells of this stage."""
        return list(self._parameters)


class LoRIModel(PeftModel):  # type: ignore[misc]  # peft ships no types
    """A PeftModel with one sparse LoRI adapter, which learns one task a stage; see `get_lori_model`.

    Example:
        >>> import lori_cl as cl
        >>> from transformers import BertConfig, BertModel
        >>> base = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ...                             intermediate_size=16, vocab_size=32))
        >>> model = cl.get_lori_model(base, cl.LoRI(rank=4, strategy="random"))
        >>> with model.stage("first"):
        ...     pass  # your training loop
        >>> model.stages, [claim.task for claim in model.ledger.claims]
        (('first',), ['first'])
    """

    _lori: _State

    @property
    def stages(self) -> tuple[str, ...]:
        """The tasks of the finished stages, in order."""
        return tuple(state.task for state in self._lori.history)

    @property
    def ledger(self) -> Ledger:
        """Which task owns which cell, and what is free."""
        return self._lori.method.ledger(self._lori.history)

    @contextmanager
    def stage(
        self,
        task: str,
        calibration: Batches | None = None,
        *,
        tasks_left: int = 1,
        calibration_lr: float | None = None,
    ) -> Iterator[OpenStage]:
        """Allocate cells for a task, and make them trainable; they are frozen when the context ends.

        After an exception the stage leaves nothing behind.

        Args:
            task: The task's name.
            calibration: Batches of the task, for mask strategies `magnitude` (a short training) and
                `gradient`, and for `projection="null-space"`. Not needed for `strategy="random"`.
            tasks_left: Tasks that share the free cells, this one included, with `budget="even"`.
            calibration_lr: Learning rate of the training for `magnitude` masks; by default
                `calibration.lr` of the settings, or 5e-4.

        Raises: CapacityExhausted: too few cells are free. InputError: the task is trained already, a stage
            is open, or calibration is needed. LoriError: the base model's weights changed in the stage.
        """
        state = self._lori
        if state.open is not None:
            raise InputError(f"stage '{state.open}' is open; end it before '{task}' begins")
        if not RUN_NAME.fullmatch(task) or task in self.stages:
            why = (
                "is trained already" if task in self.stages else "is no task name: use a-z, 0-9, '_' and '-'"
            )
            raise InputError(f"'{task}' {why}")
        batches = Calibration(self, calibration, task, calibration_lr)
        context = StageContext(
            task=task,
            past=list(state.history),
            seeds={purpose: derive_seed(state.seed, task, 0, purpose) for purpose in SEEDS},
            tasks_left=tasks_left,
            calibrate=batches.train,
            epochs=1.0,
            losses=batches.losses,
            n_train=batches.n,
            examples_of=no_examples,
        )
        versions = _base_versions(self)
        state.open = task
        try:
            mask = state.method.begin_stage(context)
            opened = [p for name, p in self.named_parameters() if name.endswith(".values")]
            yield OpenStage(task, mask, opened)
            if (changed := _changed(versions, _base_versions(self))) is not None:
                raise LoriError(
                    f"stage '{task}': the base model's weight {changed} changed; only stage.parameters() may "
                    "train, or earlier stages no longer give the same outputs"
                )
            if opened and not any(bool(p.detach().any()) for p in opened):
                log.warning("stage '%s' trained nothing: all of its cells are 0", task)
            result = state.method.end_stage(context)
            state.history.append(StageState(task, result.tensors, context.seeds))
        finally:
            state.open = None
            state.method.activate(state.history)
            self.requires_grad_(False)  # whatever another Trainer switched on

    @contextmanager
    def view(self, view: str, task: str | None = None) -> Iterator[LoRIModel]:
        """Make a view active until the context ends; then all finished stages are active again.

        Args:
            view: `as_trained`, which needs a task: the adapter as of the end of that task's stage. `current`:
                all finished stages.
            task: The task.

        Raises: InputError: the view or the task is unknown, or a stage is open.
        """
        state = self._lori
        if state.open is not None:
            raise InputError(f"stage '{state.open}' is open; end it before a view is evaluated")
        if view == View.CURRENT and task is None:
            active: Sequence[StageState] = state.history
        elif view == View.AS_TRAINED and task in self.stages:
            active = state.method.as_trained(state.history[: self.stages.index(task) + 1])
        else:
            trained = ", ".join(self.stages) or "none"
            raise InputError(
                f"unknown view '{view}' of task {task!r}: use view('current') or "
                f"view('as_trained', task=...) (trained tasks: {trained})"
            )
        try:
            state.method.activate(active)
            yield self
        finally:
            state.method.activate(state.history)

    def save(self, folder: str | Path) -> None:
        """Write the finished stages (masks, values, seeds, digests), for `load_lori_model`.

        Raises: WorkspaceUnusable: the folder cannot be written.
        """
        folder, state = Path(folder), self._lori
        entries = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for stage in state.history:
                content = stage_bytes(stage.tensors, None, {"task": stage.task})
                sha256 = digest.of_bytes(content)
                write_durably(folder / f"{sha256}.safetensors", content)
                entries.append({"task": stage.task, "sha256": sha256, "seeds": dict(stage.seeds)})
            manifest = {
                "format": FORMAT,
                "settings": state.settings.model_dump(mode="json", exclude_unset=True),
                "seed": state.seed,
                "sites": list(state.sites),
                "base": state.base_digest(self),
                "stages": entries,
            }
            write_durably(folder / MANIFEST, json.dumps(manifest, indent=2).encode())
        except OSError as error:
            raise WorkspaceUnusable(f"{folder} cannot be written: {error.strerror}") from error

    def save_pretrained(self, save_directory: str, **_: Any) -> None:
        """Write the active adapter as a plain PEFT folder, as a Trainer does for its checkpoints.

        `save` keeps the stages; this keeps what the model computes now.
        """
        base = self.get_base_model()
        name, revision = getattr(base.config, "_name_or_path", ""), None
        save_peft(
            Path(save_directory),
            read_weights(self),
            name,
            revision,
            {"stages": list(self.stages)},
            task_type=task_type_of(base),
        )


@dataclass
class _State:
    """What a LoRIModel knows beside its modules."""

    settings: LoRI
    method: LoRIMethod
    seed: int
    sites: tuple[str, ...]
    history: list[StageState]
    open: str | None = None
    """The task of the stage that is under way."""
    _base: str | None = None

    def base_digest(self, model: Any) -> str:
        """SHA-256 of the base model's weights, computed once."""
        if self._base is None:
            self._base = _base_digest(model)
        return self._base


def get_lori_model(base_model: nn.Module, settings: LoRI | None = None, *, seed: int = 0) -> LoRIModel:
    """Wrap a transformers model with one LoRI adapter, for a training loop or a Trainer of your own.

    Args:
        base_model: The model; its weights are frozen, and its Linear layers are replaced in place.
        settings: `cl.LoRI(...)`; the defaults where None.
        seed: What the projections A and the masks are drawn from.

    Returns: A PeftModel; `model.stage(...)` trains a task, `model.view(...)` selects what is active.

    Raises: TargetError: `targets` names no Linear layer. SpecError.

    Example:
        >>> import lori_cl as cl, torch
        >>> from transformers import BertConfig, BertModel
        >>> base = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ...                             intermediate_size=16, vocab_size=32))
        >>> model = cl.get_lori_model(base, cl.LoRI(rank=4, density=0.5, strategy="random"))
        >>> with model.stage("first") as stage:
        ...     optimizer = torch.optim.AdamW(stage.parameters(), lr=5e-3)
        ...     loss = model(input_ids=torch.tensor([[1, 2]]))[0].square().mean()
        ...     loss.backward()
        ...     optimizer.step()
        >>> model.stages
        ('first',)
    """
    chosen = settings if settings is not None else LoRI()
    return _wrapped(base_model, chosen, seed, select_sites(base_model, chosen.targets).sites)


def load_lori_model(base_model: nn.Module, folder: str | Path) -> LoRIModel:
    """Wrap a base model with the adapter that `LoRIModel.save` wrote; all of its stages are active.

    Raises: ArtifactMissing: a file is missing. ArtifactDamaged: a file does not have its digest. InputError:
        the base model is another one.

    Example:
        >>> import lori_cl as cl, tempfile
        >>> from transformers import BertConfig, BertModel
        >>> base = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ...                             intermediate_size=16, vocab_size=32))
        >>> folder = tempfile.mkdtemp()
        >>> cl.get_lori_model(base, cl.LoRI(rank=4)).save(folder)
        >>> cl.load_lori_model(base.base_model if hasattr(base, "base_model") else base, folder).stages
        ()
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    model = _wrapped(base_model, LoRI(**manifest["settings"]), manifest["seed"], manifest["sites"])
    state = model._lori
    if state.base_digest(model) != manifest["base"]:
        raise InputError(
            f"{folder} was saved on a base model of digest {manifest['base'][:16]}…, and this one has "
            f"{state.base_digest(model)[:16]}…; load the same weights in the same dtype"
        )
    for entry in manifest["stages"]:
        tensors, _ = read_stage(_verified(folder / f"{entry['sha256']}.safetensors", entry["sha256"]))
        state.history.append(StageState(entry["task"], tensors, entry["seeds"]))
    state.method.activate(state.history)
    return model


def _wrapped(base_model: nn.Module, settings: LoRI, seed: int, sites: Sequence[str]) -> LoRIModel:
    curriculum = Curriculum(model=".", tasks=["own-loop"], method=settings, seed=seed)
    lr = curriculum.train.model_copy(update={"lr": LoRIMethod.default_lr})
    method = LoRIMethod(curriculum.model_copy(update={"train": lr}))
    base_model.requires_grad_(False)
    model = method.attach(base_model, derive_seed(seed, "projection"), sites)
    model.__class__ = LoRIModel  # a PeftModel with more methods, and no other state than this:
    model._lori = _State(settings, method, seed, tuple(sites), [])
    method.activate([])
    wrapped: LoRIModel = model
    return wrapped


def _base_parameters(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The base model's own weights, without the adapter's."""
    return ((n, p) for n, p in model.get_base_model().named_parameters() if ".lora_" not in n)


def _base_versions(model: Any) -> dict[str, tuple[int, int]]:
    """By name, which tensor a weight is and how often it was changed in place."""
    return {name: (id(p), p._version) for name, p in _base_parameters(model)}


def _changed(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> str | None:
    """The first weight that was changed in place."""
    return next(
        (n for n, (of, v) in now.items() if n in before and before[n][0] == of and before[n][1] != v), None
    )


def _base_digest(model: Any) -> str:
    named = sorted((name.replace(".base_layer", ""), p) for name, p in _base_parameters(model))
    return tensors_digest(named)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise InputError(f"{folder / MANIFEST} has format {manifest['format']}; upgrade lori_cl")
        stages = [(str(e["task"]), str(e["sha256"]), dict(e["seeds"])) for e in manifest["stages"]]
        named = {key: manifest[key] for key in ("settings", "seed", "sites", "base")}
    except FileNotFoundError:
        raise ArtifactMissing(f"{folder / MANIFEST} is missing; name a folder that save() wrote") from None
    except (InvalidJSON, LookupError, TypeError, ValueError, OSError) as error:
        raise ArtifactDamaged(f"{folder / MANIFEST} is damaged: {type(error).__name__}") from None
    return {**named, "stages": [{"task": t, "sha256": s, "seeds": seeds} for t, s, seeds in stages]}


def _verified(file: Path, sha256: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ArtifactMissing(f"{file} cannot be read: {error.strerror}") from None
    if digest.of_bytes(content) != sha256:
        raise ArtifactDamaged(f"{file}: its content has another digest; restore it from a backup")
    return content
