from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from lori_cl import digest
from lori_cl.errors import ArtifactDamaged, ArtifactMissing, WorkspaceUnusable
from lori_cl.registry import ArtifactStore

CONTENT = b"x" * 1234
NAME = digest.of_bytes(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def names(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_an_artifact_is_named_by_the_digest_of_its_content(store: ArtifactStore) -> None:
    assert store.put(b"hello", "jsonl") == digest.of_bytes(b"hello")
    assert names(store) == [f"{digest.of_bytes(b'hello')}.jsonl"]


@settings(deadline=None, max_examples=20)
@given(content=st.binary(max_size=4096))
def test_get_returns_the_content_that_was_put(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    store = ArtifactStore(tmp_path_factory.getbasetemp() / "any-content")
    assert store.get(store.put(content, "safetensors"), "safetensors") == content


def test_content_put_twice_is_one_file(store: ArtifactStore) -> None:
    store.put(CONTENT, "jsonl")
    store.put(CONTENT, "jsonl")
    assert names(store) == [f"{NAME}.jsonl"]


def test_putting_content_again_renews_its_modification_time(store: ArtifactStore) -> None:
    file = store.path(store.put(CONTENT, "jsonl"), "jsonl")
    os.utime(file, (0, 0))
    before = time.time()
    store.put(CONTENT, "jsonl")
    assert file.stat().st_mtime > before - 3600


def test_content_owned_by_another_user_can_be_put_again(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.path(store.put(CONTENT, "jsonl"), "jsonl")
    first = file.stat().st_ino

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with file.open(), monkeypatch.context() as owned:  # kept open so that the inode number is not reused
        owned.setattr(os, "utime", refuse)
        assert store.put(CONTENT, "jsonl") == NAME
        assert file.stat().st_ino != first
    assert names(store) == [f"{NAME}.jsonl"]


def test_concurrent_puts_of_the_same_content_make_one_file(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: store.put(CONTENT, "jsonl"), range(32))) == {NAME}
    assert names(store) == [f"{NAME}.jsonl"]
    assert store.get(NAME, "jsonl") == CONTENT


def test_error_about_a_missing_artifact_names_its_path(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactMissing) as missing:
        store.get(NAME, "safetensors")
    assert str(store.folder / f"{NAME}.safetensors") in str(missing.value)


def test_flipped_bit_is_detected_and_the_error_names_both_digests(store: ArtifactStore) -> None:
    store.put(CONTENT, "safetensors")
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    store.path(NAME, "safetensors").write_bytes(flipped)
    with pytest.raises(ArtifactDamaged) as damaged:
        store.get(NAME, "safetensors")
    assert NAME in str(damaged.value)
    assert digest.of_bytes(flipped) in str(damaged.value)


@pytest.mark.parametrize(
    "damage", [CONTENT[:-1], b"", b"y" * len(CONTENT)], ids=["truncated", "empty", "same size"]
)
def test_putting_the_content_again_repairs_a_damaged_file(store: ArtifactStore, damage: bytes) -> None:
    store.put(CONTENT, "jsonl")
    store.path(NAME, "jsonl").write_bytes(damage)
    store.put(CONTENT, "jsonl")
    assert store.get(NAME, "jsonl") == CONTENT


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_full_disk_error_names_file_and_size_and_leaves_no_partial_file(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store.folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(call, no_space)
        with pytest.raises(
            WorkspaceUnusable, match=r"\(1,234 bytes\) cannot be written .*No space left"
        ) as full:
            store.put(CONTENT, "jsonl")
    assert f"{NAME}.jsonl" in str(full.value)
    assert str(store.folder) in str(full.value)
    assert names(store) == []


def test_put_syncs_the_file_before_the_rename_and_the_folder_after_it(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync: Callable[[int], None] = os.fsync
    rename: Callable[..., None] = os.replace

    def recording_fsync(handle: int) -> None:
        done.append("sync folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "sync file")  # noqa: PTH112
        fsync(handle)

    def recording_rename(path: Path, target: Path) -> None:
        done.append("rename")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_rename)
    store.put(CONTENT, "jsonl")
    assert done == ["sync file", "rename", "sync folder"]


def test_interrupt_while_writing_leaves_no_partial_file(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.put(CONTENT, "jsonl")
    assert names(store) == []


def test_an_artifact_below_a_regular_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = ArtifactStore(tmp_path / "file" / "artifacts")
    with pytest.raises(WorkspaceUnusable, match=r"cannot be written .*: Not a directory") as refused:
        store.put(CONTENT, "jsonl")
    assert str(store.folder) in str(refused.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=["permission denied", "bad sector"])
def test_error_about_an_unreadable_artifact_names_its_path(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store.put(CONTENT, "jsonl")

    def unreadable(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    monkeypatch.setattr(Path, "open", unreadable)
    with pytest.raises(WorkspaceUnusable, match=os.strerror(number)) as refused:
        store.get(NAME, "jsonl")
    assert str(store.path(NAME, "jsonl")) in str(refused.value)


def test_permissions_of_an_artifact_follow_the_umask(store: ArtifactStore) -> None:
    before = os.umask(0o022)
    try:
        store.put(CONTENT, "jsonl")
    finally:
        os.umask(before)
    assert store.path(NAME, "jsonl").stat().st_mode & 0o777 == 0o644


class StoreMachine(RuleBasedStateMachine):
    """A store whose files are damaged or deleted between calls: `get` returns the content or raises."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ArtifactStore(Path(self.folder.name) / "artifacts")
        self.intact: set[str] = set()

    stored = Bundle("stored")

    @rule(target=stored, content=st.binary(max_size=64))
    def put(self, content: bytes) -> tuple[str, bytes]:
        name = self.store.put(content, "jsonl")
        self.intact.add(name)
        return name, content

    @rule(entry=stored, damage=st.binary(max_size=64))
    def overwrite(self, entry: tuple[str, bytes], damage: bytes) -> None:
        self.store.path(entry[0], "jsonl").write_bytes(damage)
        self.intact.discard(entry[0])
        if damage == entry[1]:
            self.intact.add(entry[0])

    @rule(entry=stored)
    def lose(self, entry: tuple[str, bytes]) -> None:
        self.store.path(entry[0], "jsonl").unlink(missing_ok=True)
        self.intact.discard(entry[0])

    @rule(entry=stored)
    def get(self, entry: tuple[str, bytes]) -> None:
        name, content = entry
        if name in self.intact:
            assert self.store.get(name, "jsonl") == content
            return
        with pytest.raises((ArtifactMissing, ArtifactDamaged)):
            self.store.get(name, "jsonl")

    def teardown(self) -> None:
        self.folder.cleanup()


class TestStoreMachine(StoreMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(deadline=None, max_examples=30, stateful_step_count=20)
