import { writeFileSync } from 'node:fs';
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
