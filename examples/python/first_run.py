"""Train two tasks one after another from Python, and look at what is forgotten. Takes about a minute."""

import sys
from pathlib import Path

import lori_cl as cl

COLOURS = ["red", "green", "blue", "white"]
SIZES = ["tiny", "small", "large", "huge"]


def sentences(names: list[str], words: str, start: int, n: int) -> list[dict[str, str]]:
    """Rows with a prompt and the word that should follow."""
    return [
        {"text": f"{words} {i} is {names[i % 4]}", "label": names[i % 4]} for i in range(start, start + n)
    ]


def main(folder: Path) -> None:
    """Run the two tasks in a workspace, and write a report."""
    ws = cl.Workspace(folder)
    ws.add_task(
        *(
            cl.Classification(
                name,
                train=sentences(names, name, 0, 48),
                eval=sentences(names, name, 1000, 12),
                prompt="{{ text }}. The word:",
            )
            for name, names in (("colours", COLOURS), ("sizes", SIZES))
        )
    )
    plan = cl.Curriculum(
        model="package:lori_cl/demo/base",  # comes with the package; a hub id or a folder works, too
        tasks=["colours", "sizes"],
        method=cl.LoRI(rank=16, density=0.2, strategy="random"),
        train=cl.Train(epochs=4, batch_size=8, lr=1e-2),
    )
    run = ws.run(plan, name="first")
    for view in ("as_trained", "current"):
        print(f"view {view}, scores after each stage:")
        print(run.matrix(view).to_pandas().round(3).to_string())
        print(f"backward transfer: {run.metrics(view).bwt:+.3f}")
    print("prediction:", run.predict(["colours 7 is white"], task="colours")[0].answer)
    run.report(folder / "report.html")
    print(f"verified: {len(run.verify())} checks")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "first-run"))
