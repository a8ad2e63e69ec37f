"""How fast is plain scoring: forward passes over texts sorted by length, full logits?  Usage:
    python bench/python/score_baseline.py --model DIR --data gsm8k.jsonl [--prompts 256] [--batches 4,8] [--device cpu]

PROMPTS texts, each a GSM8K question in the chat template and its answer; the mean log-probability of the answer's tokens.
bfloat16. Counts the tokens of question and answer, not the padding. The last line is JSON: tokens/s of the best
batch size. Asserts no time."""

import argparse
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--prompts", type=int, default=256)
parser.add_argument("--batches", default="4,8")
parser.add_argument("--device", default="cpu")
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(args.device).eval()
with open(args.data, encoding="utf-8") as file:
    rows = [json.loads(line) for _, line in zip(range(args.prompts), file)]
texts = []
for row in rows:
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": row["question"]}], tokenize=False, add_generation_prompt=True)
    first = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    texts.append((tokenizer(prompt, add_special_tokens=False).input_ids + tokenizer(row["answer"], add_special_tokens=False).input_ids, first))
texts.sort(key=lambda text: len(text[0]))
tokens = sum(len(ids) for ids, _ in texts)

results = {}
for batch in map(int, args.batches.split(",")):
    start, means = time.time(), []
    for at in range(0, len(texts), batch):
        group = texts[at:at + batch]
        width = max(len(ids) for ids, _ in group)
        ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in group], device=args.device)
        mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in group], device=args.device)
        with torch.inference_mode():
            logits = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits[:, :-1].float()
            logprob_BT = logits.gather(2, ids_BT[:, 1:, None])[..., 0] - logits.logsumexp(-1)
        means += [logprob_BT[i, first - 1:len(ids) - 1].mean().item() for i, (ids, first) in enumerate(group)]
    results[batch] = round(tokens / (time.time() - start), 1)
    print(f"batch {batch}: {results[batch]} tokens/s, mean {sum(means) / len(means):.4f}", file=sys.stderr)
best = max(results, key=results.get)
print(json.dumps({"bench": "score_baseline", "tokensPerSecond": results[best], "batch": best, "all": results, "texts": len(texts),
                  "tokens": tokens, "meanLogprob": round(sum(means) / len(means), 4), "threads": torch.get_num_threads(), "torch": torch.__version__}))
