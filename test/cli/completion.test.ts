/** What the scripts complete, in the shells that are here. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { packageRoot } from '../../processes/python.js';

// As built: every command is loaded, which takes Node a second and a transformer of sources ten.
const built = createRequire(import.meta.url)(join(packageRoot, 'dist/client/cli/completion.js'));
const folder = mkdtempSync(join(tmpdir(), 'srlm-test-completion-'));
const SHELLS = ['bash', 'zsh', 'fish'] as const;
const file = (shell: string) => join(folder, shell);

beforeAll(async () => {
  for (const shell of SHELLS) {
    const program = new Command('srlm').option('--json', 'as JSON').exitOverride();
    built.addCompletionCommand(program);
    const lines: string[] = [];
    const written = vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(`${line}`) > 0);
    try {
      await program.parseAsync(['completion', shell], { from: 'user' });
    } finally {
      written.mockRestore();
    }
    writeFileSync(file(shell), lines.join(''));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function completed(...words: string[]): string[] {
  const line = ['srlm', ...words].map((word) => `'${word}'`).join(' ');
  const script = `source '${file('bash')}'; COMP_WORDS=(${line}); COMP_CWORD=${words.length}; _srlm; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).split('\n').filter(Boolean);
}

it('completes commands, options and choices', () => {
  expect(completed('st')).toEqual(['start', 'study', 'status', 'stop']);
  expect(completed('data', '')).toEqual(expect.arrayContaining(['check', '--json', '--help']));
  expect(completed('data', 'check', 'rows.jsonl', '--f')).toEqual(['--field']);
  expect(completed('worker', '--role', '')).toEqual(['all', 'workflow', 'cpu', 'gpu']);
  expect(completed('--json', 'completion', '')).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']));
  // The id of a run: files are completed instead.
  expect(completed('watch', 'my-r')).toEqual([]);
});

it.each(SHELLS)('is a script that %s accepts', (shell) => {
  const { error, status, stderr } = spawnSync(shell, ['-n', file(shell)], { encoding: 'utf8' });
  // A shell that is not installed here is left to where it is.
  if (!error) expect([status, stderr]).toEqual([0, '']);
});
