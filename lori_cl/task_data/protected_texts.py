"""The texts of `adapter.null_space.protect`: projections A exclude the input directions that they use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from lori_cl import digest
from lori_cl.errors import DataError, RunConflict
from lori_cl.forgetting.subset import random_subset
from lori_cl.model_traits import input_device
from lori_cl.models.base_model import BaseModel
from lori_cl.spec import CurriculumSpec
from lori_cl.task_data.eval_tasks import max_length_of
from lori_cl.tasks import right_padded
from lori_cl.tasks.kinds.causal import decoder_batch
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from lori_cl.tasks.row_files import MAX_FILE_BYTES, READERS, read_file
from lori_cl.tasks.rows import require_column

COLUMN = "text"
"""Column of a data file with the texts."""


def with_protected_digest(curriculum: CurriculumSpec) -> CurriculumSpec:
    """Return the curriculum with the SHA-256 of its protected texts; unchanged if it has none.

    Raises: DataError, if the file cannot be read or has no text; RunConflict, if the curriculum has another
    SHA-256.
    """
    settings = curriculum.adapter.null_space
    if settings.protect is None:
        return curriculum
    read_texts(settings.protect)
    found = digest.of_file(Path(settings.protect).expanduser())
    if settings.protect_sha256 not in (None, found):
        raise RunConflict(
            f"adapter.null_space.protect: {settings.protect} has the SHA-256 {found[:16]}…, and the "
            f"curriculum has {settings.protect_sha256[:16]}…; restore the file, or remove protect_sha256"
        )
    settings = settings.model_copy(update={"protect_sha256": found})
    adapter = curriculum.adapter.model_copy(update={"null_space": settings})
    return curriculum.model_copy(update={"adapter": adapter})


def read_texts(path: str) -> list[str]:
    """Return the texts of a file: each line of a .txt file, or the column `text` of a data file.

    Empty texts are skipped.
    Raises: DataError, if the file cannot be read, has no such column or no text.
    """
    file = Path(path).expanduser()
    where = f"adapter.null_space.protect: {file}"
    try:
        if file.suffix.lower() == ".txt":
            texts = _lines(file)
        elif file.suffix.lower() in READERS:
            rows = read_file(file, {COLUMN})
            require_column(rows, COLUMN, "adapter.null_space.protect")
            texts = [str(row[COLUMN]) for row in rows.rows]
        else:
            raise DataError(f"{where} should be a .txt file, or one of {', '.join(READERS)}")
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise DataError(f"{where} has no text")
    return texts


def _lines(file: Path) -> list[str]:
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"{file}: {size:,} bytes; a file has at most {MAX_FILE_BYTES:,}")
    return file.read_text(encoding="utf-8-sig").splitlines()


def protected_batches(curriculum: CurriculumSpec, base: BaseModel) -> Iterator[dict[str, Tensor]]:
    """Yield the protected texts as keyword arguments of the model's forward, each (texts, tokens).

    `adapter.null_space.examples` texts are drawn with the curriculum's seed. The decoder of an
    encoder-decoder model reads the same text as its encoder.
    Raises: DataError.
    """
    settings = curriculum.adapter.null_space
    assert settings.protect is not None, "the curriculum protects texts"
    texts = random_subset(read_texts(settings.protect), settings.examples, curriculum.seed)
    limit = max_length_of(curriculum, base.context)
    ids = base.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    size = curriculum.eval.batch_size if base.ignores_padding else 1
    for start in range(0, len(ids), size):
        yield _batch(base, ids[start : start + size])


def _batch(base: BaseModel, ids: Sequence[list[int]]) -> dict[str, Tensor]:
    pad, device = base.tokenizer.pad_token_id, input_device(base.model)
    padded, mask = right_padded(ids, pad, device)
    batch = {"input_ids": padded, "attention_mask": mask}
    if begin := decoder_start(base.tokenizer):
        batch |= decoder_batch([[begin[0], *text[:-1]] for text in ids], pad, device)
    return batch
