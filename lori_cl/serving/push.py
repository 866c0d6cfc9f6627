"""Upload the adapter of a task to the Hugging Face hub, as `export` writes it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, constants, get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # re-exported

from lori_cl.errors import InputError, LoriError, first_line
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.export import ExportResult, export

CARD = "README.md"


@dataclass(frozen=True)
class PushResult:
    """The files of an adapter, and where they are on the hub."""

    repo: str
    revision: str
    files: Mapping[str, int]
    """Sizes in bytes, by name."""
    exported: ExportResult
    url: str | None
    """The commit on the hub; None after a dry run."""


def check_push(repo: str, *, dry_run: bool) -> None:
    """Check what can be checked without loading the run or using the network.

    Raises: InputError: the repository's name is invalid, the hub is offline, or there is no token.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"--repo '{repo}' is not a name of a repository: {first_line(error)}") from None
    if dry_run:
        return
    if is_offline_mode():
        raise InputError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it, or use --dry-run")
    if get_token() is None:
        raise InputError("there is no token for the hub; set HF_TOKEN, or log in with: hf auth login")


def push(
    loaded: LoadedRun,
    task: str,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    verify: bool = True,
) -> PushResult:
    """Export a task to a temporary folder and upload it in one commit; the repository is created if needed.

    Raises: InputError: see `check_push`; the hub refuses the token, or the repository is not private.
    LoriError: the hub cannot be reached, or fails. See `export`.
    """
    check_push(repo, dry_run=dry_run)
    with tempfile.TemporaryDirectory(prefix="lori-cl-push-") as temporary:
        folder = Path(temporary) / "adapter"
        exported = export(loaded, task, folder, verify=verify, name=repo)
        _add_metadata(folder / CARD, loaded)
        files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        title = f"Add {exported.tasks[0]} of run {loaded.run.name}"
        url = None if dry_run else _upload(folder, repo, title, private=private, revision=revision)
    return PushResult(repo, revision or constants.DEFAULT_REVISION, files, exported, url)


def _upload(folder: Path, repo: str, title: str, *, private: bool, revision: str | None) -> str:
    api = HfApi(library_name="lori_cl")
    with _hub_errors(api, repo):
        created = api.create_repo(repo, private=True if private else None, exist_ok=True)
        if private and not api.model_info(created.repo_id).private:
            raise InputError(
                f"repository '{created.repo_id}' exists and is public; nothing was uploaded. Make it "
                "private, or choose another --repo"
            )
        if revision is not None:
            api.create_branch(created.repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=created.repo_id, folder_path=folder, commit_message=title, revision=revision
        )
    return str(commit.commit_url)


@contextmanager
def _hub_errors(api: HfApi, repo: str) -> Iterator[None]:
    """Raise a LoriError for an error of the hub or of the network."""
    try:
        yield
    except LoriError:
        raise
    except HfHubHTTPError as error:
        raise _refusal(error, repo) from error
    except Exception as error:  # of the HTTP client, which differs between versions of huggingface_hub
        raise LoriError(
            f"the upload to {api.endpoint} failed: {first_line(error)}; check the network, and repeat the "
            "command"
        ) from error


def _refusal(error: HfHubHTTPError, repo: str) -> LoriError:
    status = error.response.status_code
    said = error.server_message or error.response.reason_phrase
    match status:
        case 401:
            return InputError(f"the hub refuses the token (401, {said}); log in again with: hf auth login")
        case 403:
            return InputError(
                f"the token may not write to '{repo}' (403, {said}); use a token with the role write"
            )
        case 409:
            return LoriError(f"'{repo}' was changed at the same time (409, {said}); repeat the command")
    return LoriError(f"the hub answers {status} for '{repo}': {said}; nothing was uploaded")


def _add_metadata(card: Path, loaded: LoadedRun) -> None:
    """Put the metadata that the hub reads at the start of the model card."""
    metadata: dict[str, Any] = {
        "library_name": "peft",
        "tags": ["lori_cl", "lora", "continual-learning"],
    }
    if _is_hub_id(loaded.run.base_path):
        metadata |= {"base_model": loaded.run.base_path, "base_model_relation": "adapter"}
    text = card.read_text(encoding="utf-8")
    card.write_text(f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n{text}", encoding="utf-8")


def _is_hub_id(path: str) -> bool:
    """Whether the path of a base model names a repository of the hub."""
    if path.startswith((".", "/", "~", "package:")):
        return False
    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True
