"""What does the optimizer's precision cost, and what does it gain?  Usage: python bench/python/precision.py [--model DIR] [--steps N] [--rate R]

Trains a model, without --model one of 20 million random weights, in three ways on the same random rows of 64 tokens, with one
thread, in processes of their own, one after another: bf16 (weights, gradients and moments in bf16, as before 0.4), master (python/optimizer.py), autocast (fp32 weights,
bf16-autocast). The rows are few, so the loss falls; the rate is that of a spec that sets none, with constant schedule.
The last line is JSON: for each way tokens/s (median over steps, and of processor time), peak memory in MB, final loss (of
fp32 arithmetic over all rows). Asserts no time."""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
WAYS = ("bf16", "master", "autocast")
ROWS, TOKENS, BATCH, BETAS = 16, 64, 8, (0.9, 0.999)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model")
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--rate", type=float, default=2e-5)
parser.add_argument("--way", choices=WAYS)


def train(args):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from optimizer import MasterAdamW
    torch.manual_seed(0)
    weights = torch.float32 if args.way == "autocast" else torch.bfloat16
    torch.set_num_threads(1)
    if args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=weights, attn_implementation="eager")
    else:
        config = LlamaConfig(hidden_size=512, intermediate_size=1408, num_hidden_layers=4, num_attention_heads=8, vocab_size=8192,
                             tie_word_embeddings=True, attn_implementation="eager")
        model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).to(weights)
    settings = {"lr": args.rate, "betas": BETAS, "eps": 1e-8, "weight_decay": 0.0}
    optimizer = MasterAdamW(model.parameters(), **settings) if args.way == "master" else torch.optim.AdamW(model.parameters(), fused=True, **settings)
    ids_RT = torch.randint(0, 2000, (ROWS, TOKENS))

    def loss_of(ids_BT, cast):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            return model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss

    walls, cpus = [], []
    for step in range(args.steps):
        wall, cpu = time.perf_counter(), time.process_time()
        at = step * BATCH % ROWS
        loss_of(ids_RT[at:at + BATCH], args.way == "autocast").backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    model.float()
    with torch.no_grad():
        final = float(loss_of(ids_RT, False))
    per = lambda seconds: round(BATCH * TOKENS / statistics.median(seconds[2:]))
    print(json.dumps({"tokensPerSecond": per(walls), "tokensPerProcessorSecond": per(cpus), "peakMb": peak, "finalLoss": round(final, 4)}))


def main():
    args = parser.parse_args()
    if args.way:
        train(args)
        return
    found = {}
    print(f"{'way':10} {'tokens/s':>9} {'a core':>7} {'peak MB':>8} {'final loss':>11}")
    for way in WAYS:
        ran = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], stdout=subprocess.PIPE, text=True, check=True)
        found[way] = one = json.loads(ran.stdout.splitlines()[-1])
        print(f"{way:10} {one['tokensPerSecond']:9} {one['tokensPerProcessorSecond']:7} {one['peakMb']:8} {one['finalLoss']:11}", flush=True)
    print(json.dumps({"what": "optimizer precision", "steps": args.steps, "rate": args.rate, **found}))


if __name__ == "__main__":
    main()
