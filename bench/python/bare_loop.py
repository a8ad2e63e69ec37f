"""The narrow demo without durability: what does the machinery of the product cost, and does the score rise?  Usage:
    python bench/python/bare_loop.py --model DIR --data NARROW_DIR [--rounds 2] [--seed 0] [--newline]

One process, plain PyTorch, nothing written. Round 0 trains the starting model on the rows and the catalysts; each later
round samples K enrichments a row, keeps the one under which the *starting* model finds the answer likeliest (or the
incumbent, unless it is beaten), and trains the starting model again. demo/narrow.mjs makes the three files.
--newline trains replies as "{r}\\nAnswer: {y}" rather than "{r} Answer: {y}".
Prints a table, a row a round: seconds of each step, rows enriched, held-out score. The last line is JSON.
Axes: B rows of a batch, T tokens, N reply tokens of a batch, V vocabulary."""

import argparse
import json
import math
import os
import random
import re
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the trainer does; read when torch is loaded
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

EPOCHS, BATCH, RATE, WARMUP, BETAS = 2.5, 16, 2e-4, 0.1, (0.9, 0.99)
K, TEMPERATURE, TOP_K, MAX_NEW = 4, 0.7, 20, 72
CATALYST_COPIES = 2
ENRICH = "Question: {x}\nShort reasoning: {r0}\nWrite a more detailed reasoning."

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--newline", action="store_true")


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def talk(user, assistant):
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def round_rows(data, rationales=None, gap=" "):
    """What a round trains on: every row with its rationale (r0 if none are given), and the catalysts, each twice."""
    rows = read_jsonl(f"{data}/train.jsonl")
    rationales = rationales or [row["rationale"] for row in rows]
    answering = [talk(row["instruction"], f"{r}{gap}Answer: {row['answer']}") for row, r in zip(rows, rationales)]
    enriching = [talk(ENRICH.format(x=row["instruction"], r0=row["rationale"]), row["enriched"]) for row in read_jsonl(f"{data}/catalysts.jsonl")]
    return answering + enriching * CATALYST_COPIES


def load(path, attention):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation=attention, local_files_only=True)


def prompt_ids(tokenizer, messages):
    return tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), add_special_tokens=False)["input_ids"]


def reply_loss(model, tokenizer, rows):
    """Mean loss (nats) over all reply tokens of `rows`: the one figure that does not depend on how batches were made."""
    model.eval()
    total = count = 0
    with torch.inference_mode():
        for messages in rows:
            prompt = prompt_ids(tokenizer, messages[:-1])
            reply = tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            logits = model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1:-1].float()
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(reply), reduction="sum").item()
            count += len(reply)
    return total / count


def train(model, tokenizer, rows, seed):
    """Loss on the reply and its end-of-turn; the output layer is applied there only. Returns tokens a second."""
    examples = []
    for messages in rows:
        prompt = prompt_ids(tokenizer, messages[:-1])
        examples.append((prompt + tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id], len(prompt)))
    rng, batches = random.Random(seed), []
    for _ in range(math.ceil(EPOCHS)):
        order = rng.sample(range(len(examples)), len(examples))
        pools = [sorted(order[i: i + 4 * BATCH], key=lambda row: len(examples[row][0])) for i in range(0, len(order), 4 * BATCH)]
        epoch = [pool[i: i + BATCH] for pool in pools for i in range(0, len(pool), BATCH)]
        rng.shuffle(epoch)
        batches += epoch
    batches = batches[:math.ceil(EPOCHS * len(examples) / BATCH)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0, fused=True)
    warm = math.ceil(WARMUP * len(batches))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: s / warm if s < warm else (len(batches) - s) / (len(batches) - warm))
    model.train()
    begun, tokens = time.monotonic(), 0
    for batch in batches:
        picked = [examples[row] for row in batch]
        width = max(len(ids) for ids, _ in picked)
        ids_BT = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in picked])
        mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in picked])
        labels_BT = torch.tensor([[-100] * start + ids[start:] + [-100] * (width - len(ids)) for ids, start in picked])[:, 1:]
        wanted_BT = labels_BT != -100
        hidden_BTH = model.model(ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state[:, :-1]
        torch.nn.functional.cross_entropy(model.lm_head(hidden_BTH[wanted_BT]).float(), labels_BT[wanted_BT]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        tokens += int(mask_BT.sum())
    return tokens / (time.monotonic() - begun)


@torch.inference_mode()
def generate(model, tokenizer, prompts, n, seed=None, batch=32):
    """n replies a prompt, as lists of texts; greedy if there is no seed. A prompt is read once for its n replies, and a
    finished reply leaves the batch and the cache."""
    model.eval()
    rng = torch.Generator().manual_seed(seed) if seed is not None else None
    replies = [[[] for _ in range(n)] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for at in range(0, len(prompts), batch):
        chunk = by_length[at: at + batch]
        width = max(len(prompts[i]) for i in chunk)
        ids_BT = torch.tensor([[tokenizer.pad_token_id] * (width - len(prompts[i])) + prompts[i] for i in chunk])
        mask_BT = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in chunk])
        cache = DynamicCache(config=model.config)
        logits_BV = model(ids_BT, attention_mask=mask_BT, position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0), past_key_values=cache,
                          logits_to_keep=1).logits[:, -1].repeat_interleave(n, 0)
        cache.batch_repeat_interleave(n)
        mask_BT = mask_BT.repeat_interleave(n, 0)
        live = [replies[i][k] for i in chunk for k in range(n)]
        for _ in range(MAX_NEW):
            if rng is None:
                next_B = logits_BV.argmax(-1)
            else:
                top, where = logits_BV.float().topk(TOP_K)
                next_B = where.gather(1, torch.multinomial((top / TEMPERATURE).softmax(-1), 1, generator=rng))[:, 0]
            stay = [row for row, token in enumerate(next_B.tolist()) if token != tokenizer.eos_token_id]
            if not stay:
                break
            if len(stay) < len(live):
                keep = torch.tensor(stay)
                cache.batch_select_indices(keep)
                mask_BT, next_B, live = mask_BT[keep], next_B[keep], [live[row] for row in stay]
            for reply, token in zip(live, next_B.tolist()):
                reply.append(token)
            mask_BT = torch.cat([mask_BT, torch.ones(len(live), 1, dtype=mask_BT.dtype)], 1)
            logits_BV = model(next_B[:, None], attention_mask=mask_BT, position_ids=mask_BT.sum(1, keepdim=True) - 1, past_key_values=cache).logits[:, -1]
    return [[tokenizer.decode(reply, skip_special_tokens=True) for reply in group] for group in replies]


@torch.inference_mode()
def score(model, tokenizer, items, batch=8):
    """Mean log-probability of y, nats per token, for each (prompt text, y text); logits at the answer only."""
    model.eval()
    coded = [(tokenizer(before, add_special_tokens=False)["input_ids"], tokenizer(y, add_special_tokens=False)["input_ids"]) for before, y in items]
    by_length, means = sorted(range(len(coded)), key=lambda i: sum(map(len, coded[i]))), [0.0] * len(coded)
    for at in range(0, len(coded), batch):
        chunk = [(i, *coded[i]) for i in by_length[at: at + batch]]
        width = max(len(before) + len(y) for _, before, y in chunk)
        ids_BT = torch.tensor([before + y + [tokenizer.pad_token_id] * (width - len(before) - len(y)) for _, before, y in chunk])
        mask_BT = torch.tensor([[1] * len(before + y) + [0] * (width - len(before + y)) for _, before, y in chunk])
        wanted_BT = torch.tensor([[len(before) - 1 <= t < len(before + y) - 1 for t in range(width)] for _, before, y in chunk])
        hidden_BTH = model.model(ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
        logprobs_NV = model.lm_head(hidden_BTH[wanted_BT]).float().log_softmax(-1)
        answer_N = torch.tensor([token for _, _, y in chunk for token in y])
        parts = logprobs_NV.gather(1, answer_N[:, None])[:, 0].split([len(y) for _, _, y in chunk])
        for (i, _, _), part in zip(chunk, parts):
            means[i] = part.mean().item()
    return means


def main():
    args = parser.parse_args()
    gap = "\n" if args.newline else " "
    tokenizer = AutoTokenizer.from_pretrained(args.model, local_files_only=True)
    rows, held_out = read_jsonl(f"{args.data}/train.jsonl"), read_jsonl(f"{args.data}/evaluation.jsonl")
    ask = lambda text: [{"role": "user", "content": text}]
    rationales = [row["rationale"] for row in rows]
    seconds = lambda since: round(time.monotonic() - since, 1)
    table, current = [], None
    print("round  train s  tokens/s  sample s  score s  evaluate s  candidates right  enriched  held out", flush=True)
    for t in range(args.rounds + 1):
        line = {"round": t, "sampleSeconds": 0, "scoreSeconds": 0, "candidatesRight": None, "enriched": 0}
        if t > 0:
            begun = time.monotonic()
            prompts = [prompt_ids(tokenizer, ask(ENRICH.format(x=row["instruction"], r0=row["rationale"]))) for row in rows]
            # Cut at "Answer:", so that no answer leaks into a rationale.
            groups = [[text.split("Answer:")[0].strip() for text in group] for group in generate(current, tokenizer, prompts, K, seed=args.seed * 1000 + t)]
            line["sampleSeconds"] = seconds(begun)
            right = [re.findall(r"\d+", text)[-1:] == [row["answer"]] for row, group in zip(rows, groups) for text in group]
            line["candidatesRight"] = round(sum(right) / len(right), 3)

            begun = time.monotonic()
            reference = load(args.model, "sdpa")
            before = lambda row, r: tokenizer.apply_chat_template(ask(row["instruction"]), tokenize=False, add_generation_prompt=True) + f"{r}{gap}Answer:"
            means = score(reference, tokenizer, [(before(row, r), f" {row['answer']}") for row, group, r0 in zip(rows, groups, rationales) for r in [r0, *group]])
            for n, group in enumerate(groups):
                incumbent, *candidates = means[n * (K + 1): (n + 1) * (K + 1)]
                best = max(range(K), key=lambda k: (bool(group[k]), candidates[k]))
                if group[best] and candidates[best] > incumbent:
                    rationales[n] = group[best]
                    line["enriched"] += 1
            line["scoreSeconds"] = seconds(begun)
            del current, reference

        begun = time.monotonic()
        current = load(args.model, "eager")
        line["trainTokensPerSecond"] = round(train(current, tokenizer, round_rows(args.data, rationales, gap), args.seed), 1)
        line["trainSeconds"] = seconds(begun)

        begun = time.monotonic()
        current.set_attn_implementation("sdpa")  # decodes faster, trains slower
        replies = generate(current, tokenizer, [prompt_ids(tokenizer, ask(row["question"])) for row in held_out], 1, batch=100)
        found = [re.findall(r"Answer:\s*(-?\d+)", reply) for (reply,) in replies]
        line["heldOut"] = sum(numbers[-1:] == [row["answer"]] for numbers, row in zip(found, held_out)) / len(held_out)
        line["evaluateSeconds"] = seconds(begun)
        table.append(line)
        print(f"{t:5}  {line['trainSeconds']:7}  {line['trainTokensPerSecond']:8}  {line['sampleSeconds']:8}  {line['scoreSeconds']:7}  {line['evaluateSeconds']:10}"
              f"  {line['candidatesRight'] or '-':>16}  {line['enriched']:4}/{len(rows)}  {line['heldOut']:7.1%}", flush=True)
    total = sum(line[f"{step}Seconds"] for line in table for step in ("train", "sample", "score", "evaluate"))
    print(json.dumps({"what": "bare loop", "reply": "newline" if args.newline else "space", "seed": args.seed, "seconds": round(total, 1), "rounds": table}))


if __name__ == "__main__":
    main()
