"""Train two tasks in a training loop of your own, and show that the second changes no bit of the first."""

import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import lori_cl as cl
from lori_cl.models.location import locate

BASE = locate("package:lori_cl/demo/base")  # a small model that comes with the package
TASKS = {
    "colours": ["colour 1 is red", "colour 2 is green", "colour 3 is blue"],
    "sizes": ["size 1 is tiny", "size 2 is small", "size 3 is large"],
}


def main() -> None:
    """Train, compare logits bit by bit, save and load."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    batches = {
        name: dict(tokenizer(texts, return_tensors="pt", padding=True)) for name, texts in TASKS.items()
    }
    for batch in batches.values():
        batch["labels"] = batch["input_ids"]
    model = cl.get_lori_model(AutoModelForCausalLM.from_pretrained(BASE), cl.LoRI(rank=8, density=0.2))

    before = {}
    for name, batch in batches.items():
        with model.stage(name, calibration=[batch]) as stage:  # allocates cells; freezes them at the end
            optimizer = torch.optim.AdamW(stage.parameters(), lr=5e-3)
            for _ in range(10):
                loss = model(**batch).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        print(f"{name}: loss {loss.item():.3f}, {stage.mask.cells:,} cells")
        with model.view("as_trained", task=name), torch.no_grad():
            before[name] = model(**batch).logits

    with model.view("as_trained", task="colours"), torch.no_grad():
        same = torch.equal(model(**batches["colours"]).logits, before["colours"])
    print(f"colours after stage 'sizes': {'equal bit by bit' if same else 'changed'}")

    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        loaded = cl.load_lori_model(AutoModelForCausalLM.from_pretrained(BASE), folder)
        with torch.no_grad():
            same = torch.equal(loaded(**batches["sizes"]).logits, model(**batches["sizes"]).logits)
    print(f"saved and loaded: logits {'equal' if same else 'different'}")


if __name__ == "__main__":
    main()
