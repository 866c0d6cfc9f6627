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
def test_any_content_comes_back_as_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    store = ArtifactStore(tmp_path_factory.getbasetemp() / "any-content")
    assert store.get(store.put(content, "safetensors"), "safetensors") == content


def test_content_put_twice_is_one_file(store: ArtifactStore) -> None:
    store.put(CONTENT, "jsonl")
    store.put(CONTENT, "jsonl")
    assert names(store) == [f"{NAME}.jsonl"]


def test_content_put_again_is_as_young_as_if_it_were_new(store: ArtifactStore) -> None:
    file = store.path(store.put(CONTENT, "jsonl"), "jsonl")
    os.utime(file, (0, 0))
    before = time.time()
    store.put(CONTENT, "jsonl")
    assert file.stat().st_mtime > before - 3600


def test_content_that_is_another_users_is_put_again_as_well(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.path(store.put(CONTENT, "jsonl"), "jsonl")
    first = file.stat().st_ino

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with file.open(), monkeypatch.context() as owned:  # held open, so that its number is not given again
        owned.setattr(os, "utime", refuse)
        assert store.put(CONTENT, "jsonl") == NAME
        assert file.stat().st_ino != first
    assert names(store) == [f"{NAME}.jsonl"]


def test_content_put_by_many_at_once_is_one_file(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: store.put(CONTENT, "jsonl"), range(32))) == {NAME}
    assert names(store) == [f"{NAME}.jsonl"]
    assert store.get(NAME, "jsonl") == CONTENT


def test_a_missing_artifact_is_named_by_its_path(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactMissing) as missing:
        store.get(NAME, "safetensors")
    assert str(store.folder / f"{NAME}.safetensors") in str(missing.value)


def test_a_flipped_bit_is_found_and_both_digests_are_named(store: ArtifactStore) -> None:
    store.put(CONTENT, "safetensors")
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    store.path(NAME, "safetensors").write_bytes(flipped)
    with pytest.raises(ArtifactDamaged) as damaged:
        store.get(NAME, "safetensors")
    assert NAME in str(damaged.value)
    assert digest.of_bytes(flipped) in str(damaged.value)


@pytest.mark.parametrize(
    "damage", [CONTENT[:-1], b"", b"y" * len(CONTENT)], ids=["cut", "empty", "same size"]
)
def test_putting_the_content_again_mends_a_damaged_file(store: ArtifactStore, damage: bytes) -> None:
    store.put(CONTENT, "jsonl")
    store.path(NAME, "jsonl").write_bytes(damage)
    store.put(CONTENT, "jsonl")
    assert store.get(NAME, "jsonl") == CONTENT


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_full_disk_names_file_and_size_and_leaves_nothing_half_written(
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


def test_a_file_is_on_disk_before_it_gets_its_name_and_the_name_before_put_returns(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync: Callable[[int], None] = os.fsync
    rename: Callable[..., None] = os.replace

    def noted_fsync(handle: int) -> None:
        done.append("sync folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "sync file")  # noqa: PTH112
        fsync(handle)

    def noted_rename(path: Path, target: Path) -> None:
        done.append("rename")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    store.put(CONTENT, "jsonl")
    assert done == ["sync file", "rename", "sync folder"]


def test_an_interrupt_while_writing_leaves_nothing_behind(
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


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=["not allowed", "bad sector"])
def test_an_artifact_that_cannot_be_read_is_named_by_its_path(
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


def test_an_artifact_may_be_read_by_whom_the_umask_lets(store: ArtifactStore) -> None:
    before = os.umask(0o022)
    try:
        store.put(CONTENT, "jsonl")
    finally:
        os.umask(before)
    assert store.path(NAME, "jsonl").stat().st_mode & 0o777 == 0o644


class Shelf(RuleBasedStateMachine):
    """A store to which anything may happen between two calls: what it gives out is what was put in."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ArtifactStore(Path(self.folder.name) / "artifacts")
        self.whole: set[str] = set()

    kept = Bundle("kept")

    @rule(target=kept, content=st.binary(max_size=64))
    def put(self, content: bytes) -> tuple[str, bytes]:
        name = self.store.put(content, "jsonl")
        self.whole.add(name)
        return name, content

    @rule(entry=kept, damage=st.binary(max_size=64))
    def overwrite(self, entry: tuple[str, bytes], damage: bytes) -> None:
        self.store.path(entry[0], "jsonl").write_bytes(damage)
        self.whole.discard(entry[0])
        if damage == entry[1]:
            self.whole.add(entry[0])

    @rule(entry=kept)
    def lose(self, entry: tuple[str, bytes]) -> None:
        self.store.path(entry[0], "jsonl").unlink(missing_ok=True)
        self.whole.discard(entry[0])

    @rule(entry=kept)
    def get(self, entry: tuple[str, bytes]) -> None:
        name, content = entry
        if name in self.whole:
            assert self.store.get(name, "jsonl") == content
            return
        with pytest.raises((ArtifactMissing, ArtifactDamaged)):
            self.store.get(name, "jsonl")

    def teardown(self) -> None:
        self.folder.cleanup()


class TestShelf(Shelf.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(deadline=None, max_examples=30, stateful_step_count=20)
