/**
 * Writes dist/sbom.cdx.json, a CycloneDX 1.5 bill of materials: the npm packages that srlm needs, as `npm sbom` reads
 * them from package-lock.json, and the Python packages of python/requirements.txt. Part of `npm run build`; asks no
 * network. The same lock files give the same bytes: there is no serial number and no time in it, and of npm's answer
 * only what does not depend on npm's version or on the folder.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { byName, LICENCE_FILE_ONLY, npmPackages, pythonPackages, root } from './dependencies.mjs';

const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const ownRef = `pkg:npm/${own.name}@${own.version}`;
const components = [];
const dependencies = new Map([[ownRef, []]]);

addNpm();
addPython();
const bom = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: {
    component: {
      'bom-ref': ownRef,
      type: 'library',
      name: own.name,
      version: own.version,
      description: own.description,
      licenses: licences(own.license),
      purl: ownRef,
    },
  },
  components: components.sort((a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1)),
  dependencies: [...dependencies]
    .map(([ref, dependsOn]) => ({ ref, dependsOn: [...new Set(dependsOn)].sort() }))
    .sort((a, b) => (a.ref < b.ref ? -1 : 1)),
};
writeFileSync(join(root, 'dist/sbom.cdx.json'), `${JSON.stringify(bom, null, 2)}\n`);

function addNpm() {
  // Not `--omit dev`: that also leaves out what both srlm and a package for development need.
  const command = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only', '--offline'];
  const answer = JSON.parse(execFileSync('npm', command, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 }));
  const dev = new Set(npmPackages().flatMap((each) => (each.dev ? [`${each.name}@${each.version}`] : [])));
  const purls = new Map([[`${own.name}@${own.version}`, ownRef]]);
  for (const each of answer.components) {
    const key = `${each.name}@${each.version}`;
    if (dev.has(key)) continue;
    purls.set(key, each.purl);
    components.push({
      'bom-ref': each.purl,
      type: 'library',
      name: each.name,
      version: each.version,
      scope: each.scope,
      hashes: each.hashes,
      licenses: LICENCE_FILE_ONLY[each.name] ? licences(LICENCE_FILE_ONLY[each.name]) : each.licenses,
      purl: each.purl,
    });
  }
  for (const { ref, dependsOn } of answer.dependencies) {
    const needed = dependsOn.flatMap((each) => purls.get(each) ?? []);
    if (purls.has(ref)) dependencies.set(purls.get(ref), [...(dependencies.get(purls.get(ref)) ?? []), ...needed]);
  }
}

/** Optional: SRLM_PYTHON may name another environment. The hashes of the files are in python/requirements.txt. */
function addPython() {
  const packages = pythonPackages().sort(byName);
  const purls = new Map(packages.map(({ name, version }) => [name, `pkg:pypi/${name}@${version}`]));
  for (const { name, version, marker, licence, direct, neededBy } of packages) {
    const purl = purls.get(name);
    components.push({
      'bom-ref': purl,
      type: 'library',
      name,
      version,
      scope: 'optional',
      licenses: licences(licence),
      purl,
      properties: marker && [{ name: 'srlm:python:marker', value: marker }],
    });
    if (!dependencies.has(purl)) dependencies.set(purl, []);
    const parents = neededBy.map((parent) => purls.get(parent));
    for (const parent of direct ? [ownRef, ...parents] : parents) {
      dependencies.set(parent, [...(dependencies.get(parent) ?? []), purl]);
    }
  }
}

function licences(expression) {
  if (/ (AND|OR|WITH) /.test(expression)) return [{ expression }];
  return [{ license: expression.startsWith('LicenseRef-') ? { name: expression } : { id: expression } }];
}
