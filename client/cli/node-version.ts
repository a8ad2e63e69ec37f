/**
 * The first import of main.ts: an older Node cannot `require` the ES modules among the dependencies, and would show a
 * stack of its loader instead of a sentence. It imports nothing, because what it imported could fail in the same way.
 */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const loads = (major === 20 && minor >= 19) || (major === 22 && minor >= 13) || major > 22;
if (!loads) {
  process.stderr.write(`srlm needs Node 20.19, 22.13 or newer; this is ${process.version}. [usage]\n`);
  process.exit(2);
}
