"""The same training by TRL's SFTTrainer, for comparison with drive_trainer.py.  Usage:
    pip install -r bench/python/requirements.txt        (after python/requirements.txt; the product does not need it)
    python bench/python/train_baseline.py --model DIR --data NARROW_DIR [--epochs 3]

Round 0 of the narrow task: 150 rows, 32 catalysts twice each, batch 16, AdamW 2e-4. The recipe's numbers are given to
SFTTrainer; all else is its default on a CPU (fp32 weights, bf16 autocast, gradient checkpointing, sdpa, no grouping by
length). Loss on the reply only. The last line is JSON: tokens/s without padding, steps alone; final loss."""

import argparse
import json
import tempfile
import time

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from bare_loop import reply_loss, round_rows

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--epochs", type=float, default=3)


class Clock(TrainerCallback):
    def on_train_begin(self, args, state, control, **_):
        self.begun = time.monotonic()

    def on_step_end(self, args, state, control, **_):
        self.ended = time.monotonic()


def main():
    args = parser.parse_args()
    rows = [{"prompt": messages[:-1], "completion": messages[-1:]} for messages in round_rows(args.data)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=args.model, train_dataset=Dataset.from_list(rows), callbacks=[clock],
            args=SFTConfig(output_dir=scratch, use_cpu=True, num_train_epochs=args.epochs, per_device_train_batch_size=16, learning_rate=2e-4,
                           warmup_steps=0.1, adam_beta1=0.9, adam_beta2=0.99, logging_steps=1, save_strategy="no", report_to="none", seed=0))
        trainer.train()
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    tokens = sum(lengths) * trainer.state.epoch
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    final = reply_loss(trainer.model, trainer.processing_class, round_rows(args.data))
    print(json.dumps({"what": "TRL SFTTrainer", "tokensPerSecond": round(tokens / (clock.ended - clock.begun), 1), "tokens": round(tokens), "steps": trainer.state.global_step,
                      "trainLoss": round(sum(losses) / len(losses), 4), "lastLoss": round(losses[-1], 4), "finalLoss": round(final, 4), "weights": str(trainer.model.dtype),
                      "bf16": trainer.args.bf16, "gradientCheckpointing": bool(trainer.args.gradient_checkpointing), "attention": trainer.model.config._attn_implementation}))


if __name__ == "__main__":
    main()
