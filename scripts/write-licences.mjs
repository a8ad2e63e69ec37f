/**
 * Writes docs/licences.md: every dependency and its licence, from the lock files and scripts/python-licences.json.
 *   --check        writes nothing and fails if the file is not current (test/docs)
 *   --python PATH  first takes the licences of the Python packages that this interpreter has into the JSON file;
 *                  what it has not (packages of other platforms) keeps its entry, or is entered there by hand
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LICENCE_FILE_ONLY, npmPackages, pythonPackages, root } from './dependencies.mjs';

const PERMISSIVE = new Set([
  ...['0BSD', 'Apache-2.0', 'Apache-2.0 WITH LLVM-exception', 'BSD-2-Clause', 'BSD-3-Clause', 'BSL-1.0', 'CC0-1.0'],
  ...['BlueOak-1.0.0', 'CNRI-Python', 'ISC', 'MIT', 'PSF-2.0', 'Unlicense', 'Zlib'],
]);

/** What the older fields of a Python package say, as the SPDX identifier. */
const SPDX = {
  Apache: 'Apache-2.0',
  'Apache 2.0 License': 'Apache-2.0',
  'Apache Software License': 'Apache-2.0',
  BSD: 'BSD-3-Clause',
  'BSD License': 'BSD-3-Clause',
  'ISC License': 'ISC',
  'MIT License': 'MIT',
};

const READ_LICENCES = `
import importlib.metadata, json, re
found = {}
for each in importlib.metadata.distributions():
    data = each.metadata
    classifiers = [c.split(' :: ')[-1] for c in data.get_all('Classifier', []) if c.startswith('License :: OSI')]
    name = re.sub('[-_.]+', '-', data['Name']).lower()
    found[name] = data['License-Expression'] or data['License'] or ' AND '.join(classifiers)
print(json.dumps(found))
`;

const python = process.argv.indexOf('--python');
if (python > 0) {
  const path = join(root, 'scripts/python-licences.json');
  const known = JSON.parse(readFileSync(path, 'utf8'));
  const found = JSON.parse(execFileSync(process.argv[python + 1], ['-c', READ_LICENCES], { encoding: 'utf8' }));
  const names = pythonPackages().map(({ name }) => name);
  const next = names.map((name) => [name, (SPDX[found[name]] ?? found[name]) || known[name]]);
  writeFileSync(path, `${JSON.stringify(Object.fromEntries(next), null, 2)}\n`);
}

const file = join(root, 'docs/licences.md');
const text = page();
if (!process.argv.includes('--check')) writeFileSync(file, text);
else if (readFileSync(file, 'utf8') !== text) {
  process.stderr.write('docs/licences.md is not current: npm run licences writes it.\n');
  process.exit(1);
}

function page() {
  const npm = npmPackages();
  const lists = [
    ['npm packages that srlm needs', npm.filter(({ dev }) => !dev)],
    ['npm packages for development only', npm.filter(({ dev }) => dev)],
    ['Python packages', pythonPackages()],
  ];
  const unknown = lists.flatMap(([, entries]) => entries).filter(({ licence }) => !licence);
  if (unknown.length > 0) {
    const names = unknown.map(({ name }) => name).join(', ');
    throw new Error(`No licence is known of: ${names}. Enter it in scripts/python-licences.json or dependencies.mjs.`);
  }
  const copyleft = lists.flatMap(([, entries]) => entries).filter(({ licence }) => /GPL/.test(licence));
  if (copyleft.length > 0) throw new Error(`This page says that no licence is a GPL: ${JSON.stringify(copyleft)}`);
  return `# Licences of the dependencies

Written by \`node scripts/write-licences.mjs\`; do not edit it here. srlm itself has the [Apache License 2.0](../LICENSE). Its package contains none of these packages: npm and pip fetch them from their registries.

In **bold**: what is not simply permissive.

- **MPL-2.0** (of npm packages for development only; in Python \`certifi\` and \`tqdm\`): use is free; who changes *their files* and passes these on must publish the changes.
- **NVIDIA's licences** (\`nvidia-*\` and \`cuda-toolkit\`, which come with PyPI's torch on Linux only): proprietary; use with NVIDIA GPUs is free, and who redistributes them, for instance in a container image, is bound by [NVIDIA's terms](https://docs.nvidia.com/cuda/eula/).
- **CC-BY-4.0** (\`caniuse-lite\`, a table of browsers): who redistributes it names its source.
- \`${Object.keys(LICENCE_FILE_ONLY).join('`, `')}\` has no licence field in its package.json; its LICENSE file is the Unlicense (public domain), so users need do nothing, but a scanner may report it.

No dependency has a GPL, LGPL or AGPL licence.
${lists.map(([title, entries]) => table(title, entries)).join('')}`;
}

function table(title, entries) {
  const rows = entries.map(({ name, version, licence, marker }) => {
    const shown = isPermissive(licence) ? licence : `**${licence}**`;
    return `| ${name} | ${version} | ${shown}${marker ? ` (only where \`${marker}\`)` : ''} |`;
  });
  return `\n## ${title} (${entries.length})\n\n| package | version | licence |\n|---|---|---|\n${rows.join('\n')}\n`;
}

/** With OR the user chooses; with AND all hold. No expression here mixes the two. */
function isPermissive(licence) {
  if (licence.includes(' OR ')) return licence.split(' OR ').some((each) => PERMISSIVE.has(each));
  return licence.split(' AND ').every((each) => PERMISSIVE.has(each));
}
