"""How fast does python/server.py sample, and compute log-probabilities, over HTTP?  Usage:
    python bench/python/drive_server.py --model DIR --data gsm8k.jsonl [--prompts 64] [--texts 256] [--in-flight 256]
        [--top-k 20] [--device cuda ...]

Starts the server, then sends PROMPTS questions x 4 samples (the work of generate_baseline.py), and TEXTS questions with
their answers (the work of score_baseline.py): once for all tokens of the answer, and once for its last line only, the
number, which is what the method asks for: log p(y | x, r). IN_FLIGHT requests at a time.
One JSON line each: tokens/s from the first request to the last answer. Fails if an answer is missing; asserts no time."""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

PYTHON = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python")
sys.path.insert(0, PYTHON)
from folder import model_digest

SERVER = os.path.join(PYTHON, "server.py")
SAMPLES, MAX_TOKENS = 4, 128
TOKEN = secrets.token_hex(24)  # the server demands one

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--prompts", type=int, default=64)
parser.add_argument("--texts", type=int, default=256)
parser.add_argument("--in-flight", type=int, default=256)
parser.add_argument("--top-k", type=int, default=20)
args, server_args = parser.parse_known_args()  # all other options go to the server, such as --deterministic

with open(args.data, encoding="utf-8") as file:
    rows = [json.loads(line) for _, line in zip(range(max(args.prompts, args.texts)), file)]

with tempfile.TemporaryDirectory() as state:
    server = subprocess.Popen([sys.executable, SERVER, "--state-dir", state, "--model-root", args.model, *server_args],
                              env={**os.environ, "SRLM_ENGINE_TOKEN": TOKEN})
    try:
        card = os.path.join(state, "server.json")
        while not os.path.exists(card):
            if server.poll() is not None:
                sys.exit(f"the server ended with {server.returncode}")
            time.sleep(0.1)
        with open(card) as file:
            base = f"http://127.0.0.1:{json.load(file)['port']}"

        def call(path, body):
            request = urllib.request.Request(base + path, json.dumps(body).encode(), {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(request) as reply:
                return json.load(reply)

        model = call("/engine/load", {"path": args.model, "sha256": model_digest(args.model)})["model"]

        def sample(number):
            return call("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": rows[number]["question"]}], "n": SAMPLES,
                                                 "seed": 1000 * number, "temperature": 0.7, "top_k": args.top_k, "max_tokens": MAX_TOKENS})

        def score(tokens, first):
            reply = call("/v1/completions", {"model": model, "prompt": [tokens], "echo": True, "logprobs": 1, "max_tokens": 0, "logprobs_from": [first]})
            return reply["choices"][0]["logprobs"]["token_logprobs"][first:]

        def ids(text):
            return call("/tokenize", {"prompt": [text], "add_special_tokens": False})["tokens"][0]

        texts = []
        for row in rows[:args.texts]:
            prompt = call("/tokenize", {"messages": [{"role": "user", "content": row["question"]}]})["tokens"]
            working, mark, number = row["answer"].rpartition("####")
            texts.append((prompt + ids(working) + ids(mark + number), len(prompt), len(prompt) + len(ids(working))))

        with ThreadPoolExecutor(args.in_flight) as pool:
            start = time.time()
            replies = list(pool.map(sample, range(args.prompts)))
            seconds = time.time() - start
            tokens = sum(reply["usage"]["completion_tokens"] for reply in replies)
            assert all(len(reply["choices"]) == SAMPLES for reply in replies)
            print(json.dumps({"bench": "server_generate", "tokensPerSecond": round(tokens / seconds, 1), "tokens": tokens, "seconds": round(seconds, 1),
                              "prompts": args.prompts, "samples": SAMPLES, "inFlight": args.in_flight}), flush=True)
            for name, wanted in (("server_score", 1), ("server_score_last_line", 2)):
                start = time.time()
                scores = list(pool.map(lambda text: score(text[0], text[wanted]), texts))
                seconds = time.time() - start
                assert all(len(found) == len(text[0]) - text[wanted] for found, text in zip(scores, texts))
                tokens = sum(len(text[0]) for text in texts)
                mean = sum(sum(found) / len(found) for found in scores) / len(scores)
                print(json.dumps({"bench": name, "tokensPerSecond": round(tokens / seconds, 1), "tokens": tokens, "seconds": round(seconds, 1),
                                  "texts": len(texts), "meanLogprob": round(mean, 4), "inFlight": args.in_flight}), flush=True)
    finally:
        server.terminate()
        server.wait()
