/** python/chat.py: a row is trained on in the form in which it is scored and generated, whatever its template does. */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { pythonProgram } from '../../processes/python.js';
import { python, tinyModel } from '../support/python.js';

const turns = `{{ '<|im_start|>' + m.role + '\\n' }}`;
const TEMPLATES = {
  plain: `{% for m in messages %}${turns}{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,
  // As DeepSeek's distillations.
  opensThought: `{% for m in messages %}${turns}{{ m.content.split('</think>')[-1] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}`,
  // As Qwen3.
  thinksIfAsked: `{% for m in messages %}${turns}{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}`,
  emptyThought: `{% for m in messages %}${turns}{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,
  spaced: `{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}`,
  trims: `{% for m in messages %}${turns}{{ m.content | trim | upper | lower }}{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,
  endless: `{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}`,
  dated: `{{ strftime_now('%d %b %Y') + '\\n' }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}`,
  needsSystem: `{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}${turns}{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,
  dropsReplies: `{% for m in messages %}{{ m.role + '<|im_end|>' }}{% endfor %}`,
};

const SCRIPT = `
import json, sys
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1])
from transformers import AutoTokenizer
from chat import BadTemplate, Chat
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
found = {}
for name, template in json.load(sys.stdin).items():
    tokenizer.chat_template = template
    try:
        chat = Chat(tokenizer)
    except BadTemplate as problem:
        found[name] = str(problem)
        continue
    system = [{"role": "system", "content": "S"}] if name == "needsSystem" else []
    turns = [*system, {"role": "user", "content": "Q"}]
    row = [*turns, {"role": "assistant", "content": "<think>T</think> A."}]
    [(ids, start)], *_ = chat.encode([row], 4096, "leave-out")
    found[name] = {"prompt": chat.prompt(turns), "trained": [tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])],
                   "opensThought": chat.opens_thought, "addsEnd": chat.adds_end}
    # What a server scores: prompt, the reply up to the answer, the answer.
    scored = sum((tokenizer(text, add_special_tokens=False).input_ids for text in (chat.prompt(turns), "<think>T</think>", " A.")), [])
    found[name]["scoredAsTrained"] = ids[:len(scored)] == scored
tokenizer.chat_template = sys.argv[3]
chat = Chat(tokenizer)
rows = [[{"role": "user", "content": "q" * q}, {"role": "assistant", "content": "abcdefgh"[:a]}] for q, a in ((1, 2), (90, 2), (1, 8))]
bound = len(chat.encode(rows[:1], 4096, "leave-out")[0][0][0])
def cut(overlong, most):
    examples, left_out, cut = chat.encode(rows, most, overlong)
    return {"leftOut": left_out, "cut": cut, "lengths": [len(ids) for ids, _ in examples],
            "replies": [tokenizer.decode(ids[start:]) for ids, start in examples], "prompts": [start for _, start in examples]}
found["fits"] = [cut("leave-out", bound), cut("leave-out", 9), cut("keep-end", 9), cut("leave-out", 3)]
print(json.dumps(found))`;

let found: Record<string, { prompt: string; trained: [string, string]; scoredAsTrained: boolean }> & {
  fits: { leftOut: number; cut: number; lengths: number[]; replies: string[]; prompts: number[] }[];
};
beforeAll(() => {
  const args = ['-c', SCRIPT, dirname(pythonProgram('chat.py')), join(tinyModel(), 'tiny'), TEMPLATES.plain];
  found = JSON.parse(execFileSync(python, args, { input: JSON.stringify(TEMPLATES), encoding: 'utf8' }));
});

describe('a template that', () => {
  const PROMPT = '<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n';
  const EMPTY = '<think>\n\n</think>\n\n';
  const REPLY = '<think>T</think> A.';
  it.each([
    ['is plain', 'plain', PROMPT, `${REPLY}<|im_end|>`, {}],
    ['opens a think block', 'opensThought', `${PROMPT}<think>\n`, `${REPLY}<|im_end|>`, { opensThought: true }],
    ['thinks unless asked not to', 'thinksIfAsked', PROMPT + EMPTY, `${REPLY}<|im_end|>`, {}],
    ['puts an empty think block before a reply', 'emptyThought', PROMPT + EMPTY, `${REPLY}<|im_end|>`, {}],
    ['puts a space before a reply', 'spaced', '[INST] Q [/INST]', `${REPLY}<|im_end|>`, {}],
    ['changes the text of a reply', 'trims', PROMPT.replace('Q', 'q'), `${REPLY}<|im_end|>`, {}],
    ['has no end of turn', 'endless', 'user: Q\nassistant: ', `${REPLY}<|im_end|>`, { addsEnd: true }],
    ['writes the day', 'dated', '26 Jul 2024\nQ<|im_end|>', `${REPLY}<|im_end|>`, {}],
    ['demands a system message', 'needsSystem', `<|im_start|>system\nS<|im_end|>\n${PROMPT}`, `${REPLY}<|im_end|>`, {}],
  ])('%s: what is trained is what is scored and generated', (_what, name, prompt, reply, more) => {
    expect(found[name]).toEqual({
      prompt,
      trained: [prompt, reply],
      scoredAsTrained: true,
      opensThought: false,
      addsEnd: false,
      ...more,
    });
  });

  it('leaves out replies is refused', () => {
    expect(found.dropsReplies).toBe('leaves out the text of a reply.');
  });
});

it('a reply that does not fit is left out, or keeps its end; a prompt loses its beginning; nothing loses its middle', () => {
  const [whole, short, ends, none] = found.fits;
  expect(whole).toMatchObject({ leftOut: 0, cut: 2, replies: ['ab<|im_end|>', 'ab<|im_end|>', 'abcdefgh<|im_end|>'] });
  expect(new Set(whole!.lengths).size).toBe(1);
  expect(short).toMatchObject({ leftOut: 1, cut: 2, lengths: [9, 9], replies: ['ab<|im_end|>', 'ab<|im_end|>'] });
  expect(ends).toMatchObject({ leftOut: 0, cut: 3, lengths: [9, 9, 9], prompts: [6, 6, 1] });
  expect(ends!.replies[2]).toBe('bcdefgh<|im_end|>');
  expect(none).toMatchObject({ leftOut: 3, cut: 0, lengths: [] });
});
