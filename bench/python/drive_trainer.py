"""How fast does python/trainer.py train, and is its loss right?  Usage:
    python bench/python/drive_trainer.py --model DIR --data NARROW_DIR [--job DIR] [--method full|lora] [--precision auto|...]
        [--micro N] [--rate R] [--epochs N]

Makes a job folder for round 0 of the narrow task (150 rows, 32 catalysts twice each; demo/narrow.mjs makes the files) and
runs the trainer in it. The last line is JSON: tokens/s of the whole run (steps alone), seconds to the first step, loss.
Tokens are those of the rows, without padding. Asserts no time; fails if the trainer does."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "..", "..", "python")
sys.path[:0] = [PROGRAMS, HERE]
from bare_loop import load, reply_loss, round_rows  # noqa: E402
from folder import model_digest  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--job")
parser.add_argument("--method", default="full")
parser.add_argument("--precision", default="auto")
parser.add_argument("--micro", type=int, default=16)
parser.add_argument("--rate", type=float, default=2e-4)
parser.add_argument("--epochs", type=float, default=3)


def main():
    args = parser.parse_args()
    job = os.path.abspath(args.job or tempfile.mkdtemp(prefix="srlm-train-"))
    os.makedirs(job, exist_ok=True)
    rows = "".join(json.dumps({"messages": messages}) + "\n" for messages in round_rows(args.data)).encode()
    spec = {
        "version": 2, "key": "0" * 64, "baseModel": os.path.abspath(args.model), "baseModelSha256": model_digest(args.model),
        "data": "train.jsonl", "dataSha256": hashlib.sha256(rows).hexdigest(), "method": args.method,
        "lora": {"r": 16, "alpha": 32, "dropout": 0.0, "targetModules": "all-linear"} if args.method == "lora" else None,
        "epochs": args.epochs, "batchSize": 16, "microBatchSize": args.micro, "learningRate": args.rate, "schedule": "linear",
        "warmupRatio": 0.1, "weightDecay": 0, "adamBetas": [0.9, 0.99], "maxGradNorm": 1, "maxLength": 512, "overlong": "leave-out",
        "precision": args.precision, "gradientCheckpointing": False, "seed": 0, "deterministic": False, "device": "auto",
        "threads": None, "processes": 1, "checkpoint": {"everySteps": None, "everyMinutes": 10_000, "keep": 2},
    }
    for name, data in (("train.jsonl", rows), ("spec.json", json.dumps(spec).encode())):
        with open(f"{job}/{name}", "wb") as file:
            file.write(data)

    begun, first = time.monotonic(), None
    trainer = subprocess.Popen([sys.executable, f"{PROGRAMS}/trainer.py", job], stdout=subprocess.PIPE, text=True)
    for line in trainer.stdout:
        print(line, end="", file=sys.stderr)
        if first is None and line.startswith("step "):
            first = time.monotonic() - begun
            speed = None
        if line.startswith("step "):
            speed = float(line.split("loss")[1].split()[1])
    if trainer.wait() != 0:
        sys.exit(f"the trainer ended with exit code {trainer.returncode}; its job folder is {job}")
    with open(f"{job}/result.json", encoding="utf-8") as file:
        result = json.loads(json.load(file)["content"])
    with open(f"{job}/steps.jsonl", encoding="utf-8") as file:
        last = json.loads(file.readlines()[-1])
    seconds = time.monotonic() - begun
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    final = reply_loss(load(f"{job}/model", "sdpa"), tokenizer, round_rows(args.data))
    print(json.dumps({"what": "trainer.py", "tokensPerSecond": speed, "secondsToFirstStep": round(first, 1),
                      "secondsInAll": round(seconds, 1), "tokens": result["tokens"], "steps": result["steps"],
                      "trainLoss": round(result["trainLoss"], 4), "lastLoss": round(last["loss"], 4), "finalLoss": round(final, 4),
                      "precision": result["precision"]}))


if __name__ == "__main__":
    main()
