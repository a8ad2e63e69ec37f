import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { fileWriter } from '../../client/cli/output-file.js';

it('--out is refused where there is a device or a folder, before anything is written', async () => {
  // It would be replaced by a file of that name.
  await expect(fileWriter('/dev/null')).rejects.toThrow('/dev/null: it is a device, not a file.');
  await expect(fileWriter(tmpdir())).rejects.toThrow('it is a folder.');
});
