import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkFile } from '../../client/check-file.js';
import { checkTokens, FirstRows } from '../../client/check-tokens.js';
import { resolveDeployment } from '../../config/load.js';
import { temporaryFolder } from '../storage/support.js';
import { python, tinyModel } from '../support/python.js';

const folder = temporaryFolder();

it('encodes the rows as the trainer will: where the loss begins and ends, and what maxLength leaves out and cuts', async () => {
  const deployment = resolveDeployment({ artifactRoot: 'store', modelRoots: [tinyModel()], python }, folder());
  const row = (instruction: string, rationale: string) => JSON.stringify({ instruction, rationale, answer: '4' });
  // A token is a byte, and the template has some around them: the second reply does not fit, and the third prompt does not.
  const rows = [row('2+2?', 'Add.'), row('2+2?', 'Add. '.repeat(12)), row('2+2? '.repeat(12), 'Add.')];
  writeFileSync(join(folder(), 'data.jsonl'), rows.join('\n'));
  const first = new FirstRows();
  const report = await checkFile('examples', { path: 'data.jsonl', fields: {} }, folder(), first.add);
  expect(report.rows).toBe(3);
  expect(await checkTokens('tiny', first, { maxLength: 60 }, deployment)).toEqual({
    model: 'tiny',
    maxLength: 60,
    overlong: 'leave-out',
    warnings: [],
    takesSystem: true,
    keepsTurns: true,
    rows: 3,
    prompt: { median: 23, most: 78, longest: 78 },
    whole: { median: 93, most: 93, longest: 93 },
    leftOut: 1,
    cut: 1,
    first: {
      tokens: 38,
      promptTokens: 23,
      promptEnds: '<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n',
      replyBegins: 'Add.\nAnswer: 4<|im_end|>',
      replyEnds: 'Add.\nAnswer: 4<|im_end|>',
    },
  });
});

it.each([
  ['system', { system: 'Be brief.' }, 'a system message, and rows of the file begin with one'],
  ['earlier turns', { history: [['Hi', 'Yes?']] }, 'earlier turns, and rows of the file have some'],
])('refuses a template that leaves out %s of the rows', async (name, more, why) => {
  const root = join(folder(), 'models');
  const model = name.replace(' ', '-');
  cpSync(join(tinyModel(), 'tiny'), join(root, model), { recursive: true });
  const template = `{% for m in messages[-2:] %}{% if m.role != 'system' and (m.role != 'user' or loop.last or messages[-1].role == 'assistant') %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;
  writeFileSync(join(root, model, 'chat_template.jinja'), template);
  writeFileSync(
    join(folder(), 'data.jsonl'),
    JSON.stringify({ instruction: '2+2?', rationale: 'Add.', answer: 4, ...more }),
  );
  const first = new FirstRows();
  await checkFile('examples', { path: 'data.jsonl', fields: {} }, folder(), first.add);
  const deployment = resolveDeployment({ artifactRoot: 'store', modelRoots: [root], python }, folder());
  await expect(checkTokens(model, first, {}, deployment)).rejects.toThrow(`refuses or leaves out ${why}.`);
});
