"""How fast does transformers' own generate() sample the work that drive_server.py gives our server?  Usage:
    python bench/python/generate_baseline.py --model DIR --data gsm8k.jsonl [--prompts 64] [--batches 32,64,128] [--device cpu]

PROMPTS questions x 4 samples, natural ends, at most 128 new tokens, temperature 0.7, top-k 20, bfloat16, sdpa. Prompts sorted
by length, BATCH sequences in one call. Counts real tokens (end token included, padding not).
The last line is JSON: tokens/s of the best batch size. Asserts no time."""

import argparse
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SAMPLES, MAX_TOKENS = 4, 128

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--prompts", type=int, default=64)
parser.add_argument("--batches", default="32,64,128")
parser.add_argument("--device", default="cpu")
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(args.device).eval()
with open(args.data, encoding="utf-8") as file:
    questions = [json.loads(line)["question"] for _, line in zip(range(args.prompts), file)]
texts = [tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True) for q in questions]
texts.sort(key=len)

results = {}
for batch in map(int, args.batches.split(",")):
    torch.manual_seed(0)
    start, tokens, per_call = time.time(), 0, max(1, batch // SAMPLES)
    for at in range(0, len(texts), per_call):
        inputs = tokenizer(texts[at:at + per_call], return_tensors="pt", padding=True, add_special_tokens=False).to(args.device)
        with torch.inference_mode():
            out = model.generate(**inputs, do_sample=True, temperature=0.7, top_k=20, max_new_tokens=MAX_TOKENS, num_return_sequences=SAMPLES)
        for row in out[:, inputs.input_ids.shape[1]:].tolist():
            # The pad token may be the end token: count up to the first end.
            ends = [i for i, token in enumerate(row) if token == model.generation_config.eos_token_id]
            tokens += ends[0] + 1 if ends else len(row)
    results[batch] = round(tokens / (time.time() - start), 1)
    print(f"batch {batch}: {results[batch]} tokens/s, {tokens} tokens", file=sys.stderr)
best = max(results, key=results.get)
print(json.dumps({"bench": "generate_baseline", "tokensPerSecond": results[best], "batch": best, "all": results, "prompts": len(texts),
                  "samples": SAMPLES, "threads": torch.get_num_threads(), "torch": torch.__version__}))
