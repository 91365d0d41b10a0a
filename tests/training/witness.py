"""A callback that writes down what each process saw and has: for runs in processes of their own."""

import hashlib
import json
import time
from pathlib import Path

import lightning as L


class Witness(L.Callback):
    """A line of JSON a batch in FOLDER/rank-N.jsonl; ``pause_s`` leaves time for a kill."""

    def __init__(self, folder: str, pause_s: float = 0.0) -> None:
        self.folder, self.pause_s = Path(folder), pause_s

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        weights = hashlib.sha256()
        for parameter in pl_module.parameters():
            weights.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        line = {
            "step": trainer.global_step,
            "seen": [float(z.double().sum()) for z in batch["z_0"]],
            "weights": weights.hexdigest(),
            "samples": pl_module.samples,
        }
        with (self.folder / f"rank-{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        time.sleep(self.pause_s)
