/** What a model folder may not do to the programs that load it: publish files that lie beside it, run code, reach a network. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { pythonProgram } from '../../processes/python.js';
import { python, tinyModel } from '../support/python.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-hostile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = dirname(pythonProgram('folder.py'));
const put = (path: string, text: string) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
};

it('a trained model takes over the files of a tokenizer and a licence, by their whole names, and no others', () => {
  const copied = [
    ...['LICENSE', 'LICENSE.txt', 'Licence.md', 'NOTICE', 'added_tokens.json'],
    ...['additional_chat_templates/tool_use.jinja', 'chat_template.jinja', 'chat_template.json', 'merges.txt'],
    ...['qwen.tiktoken', 'sentencepiece.bpe.model', 'special_tokens_map.json', 'spiece.model', 'tekken.json'],
    ...['tokenizer.json', 'tokenizer.model', 'tokenizer.model.v3', 'tokenizer_config.json', 'vocab.json', 'vocab.txt'],
  ];
  const left = [
    ...['tokenizer_notes', 'tokenizer.json.bak', 'my-tokenizer.json', 'tokenizer.json\n', 'vocab_of_mine.csv'],
    ...['license_key.pem', 'LICENSES/private', 'notices', 'merges.txt.old', 'secret.model', 'secret.tiktoken'],
    ...['sub/tokenizer.json', 'additional_chat_templates/x/y.jinja', 'additional_chat_templates/notes.txt'],
    ...['config.json', 'generation_config.json', 'model.safetensors', 'README.md', '.LICENSE'],
  ];
  const model = join(folder, 'companions');
  for (const name of [...copied, ...left]) put(join(model, name), name);
  const script =
    'import sys, json; sys.path.insert(0, sys.argv[1]); import folder; print(json.dumps(folder.companions(sys.argv[2])))';
  const found = execFileSync(python, ['-c', script, programs, model], { encoding: 'utf8' });
  expect(JSON.parse(found).sort()).toEqual(copied.sort());
});

it.each(['server.py', 'trainer.py'])(
  '%s switches the network off before it imports anything of Hugging Face',
  (program) => {
    const script = `
import os, runpy, sys
sys.path.insert(0, sys.argv[1])
class Imports:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "huggingface_hub", "tokenizers"):
            print(name, os.environ.get("HF_HUB_OFFLINE"), os.environ.get("TRANSFORMERS_OFFLINE"))
            sys.stdout.flush()
            os._exit(0)
sys.meta_path.insert(0, Imports())
if sys.argv[2] == "trainer.py":
    import trainer, transformers
else:
    runpy.run_path(f"{sys.argv[1]}/{sys.argv[2]}")`;
    const { HF_HUB_OFFLINE: _, TRANSFORMERS_OFFLINE: __, ...rest } = process.env;
    const env = { ...rest, SRLM_ENGINE_TOKEN: 'x'.repeat(48) };
    const found = execFileSync(python, ['-c', script, programs, program], { encoding: 'utf8', env });
    expect(found).toMatch(/^(torch|transformers) 1 1\n$/);
  },
);

it('no folder chooses the code that computes attention', () => {
  // Stands in for the package that downloads kernels, and notes what it is asked for.
  const calls = join(folder, 'kernel-calls');
  writeFileSync(calls, '');
  const stub = `
import os, sys, types
class Any:
    def __init__(self, *args, **kwargs): pass
    def __class_getitem__(cls, item): return cls
CUDAProperties = Device = KernelizeFallback = LayerRepository = LocalLayerRepository = Mode = ROCMProperties = Any
register_kernel_mapping = replace_kernel_forward_from_hub = use_kernel_mapping = kernelize = lambda *args, **kwargs: None
use_kernel_forward_from_hub = use_kernelized_func = lambda *args, **kwargs: lambda what: what
def get_kernel(*args, **kwargs):
    with open(${JSON.stringify(calls)}, "a") as file:
        file.write(f"{args}\\n")
    raise RuntimeError("this would download code")
for name in ("layer", "layer.mode"):
    made = sys.modules[f"kernels.{name}"] = types.ModuleType(f"kernels.{name}")
    made.Mode = Any`;
  put(join(folder, 'packages/kernels/__init__.py'), stub);
  put(
    join(folder, 'packages/kernels-0.18.2.dist-info/METADATA'),
    'Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n',
  );
  const folders = [{ _attn_implementation: 'evil/hub' }, { attn_implementation: 'evil/hub@main' }].map((more, i) => {
    const model = join(folder, `attention-${i}`);
    cpSync(join(tinyModel(), 'tiny'), model, { recursive: true });
    const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
    writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, ...more }));
    return model;
  });
  const script = `
import sys
sys.path.insert(0, sys.argv[1])
import torch, transformers
from transformers.utils import is_kernels_available
import compute, trainer
assert is_kernels_available(), "the stand-in is not taken for the package"
for path in sys.argv[2:]:
    engine = compute.Engine("cpu", torch.float32, 1, 8, True)
    engine.load(path, "x")
    model, _ = trainer.load_model({"baseModel": path, "method": "full"}, "fp32", "sdpa", torch)
    print(engine.model.config._attn_implementation, model.config._attn_implementation)`;
  const env = { ...process.env, PYTHONPATH: join(folder, 'packages') };
  const found = execFileSync(python, ['-c', script, programs, ...folders], { encoding: 'utf8', env });
  expect(readFileSync(calls, 'utf8')).toBe('');
  expect(found).toBe('srlm_grouped sdpa\n'.repeat(2));
}, 120_000);
