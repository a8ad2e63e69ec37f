/** Which share of chosen rationales has the right working?  Usage:
 *      srlm scores RUN --round 1 --out table.jsonl
 *      node examples/study/working.mjs narrow|legs DATA_DIR/train.jsonl table.jsonl...
 *
 *  For the tasks of the study, whose working a program can check; nothing in the method sees it. Working is right if each
 *  of its equations is true, they use the numbers of the question in order, and the last result is the answer. For each
 *  table: candidates, those that pass the guards, and what was chosen. The last line is JSON. Needs the build. */
import { readFileSync } from 'node:fs';

const LEGS = { spider: 8, ant: 6, bee: 6, dog: 4, cat: 4, cow: 4, hen: 2, duck: 2, crab: 10, snail: 1 };
const EQUATION = /(\d+)([+*])(\d+)=(\d+)/g;

const TASKS = {
  narrow(question, working) {
    const [first, ...rest] = numbersOf(question);
    return isChain(equationsOf(working, '+'), first, rest);
  },
  legs(question, working) {
    const animals = [...question.matchAll(/(\d+) (\w+?)s\b/g)].map(([, count, name]) => [Number(count), LEGS[name]]);
    const products = equationsOf(working, '*').map(({ a, b }) => [a, b]);
    if (JSON.stringify(products) !== JSON.stringify(animals)) return false;
    const [first, ...rest] = animals.map(([count, legs]) => count * legs);
    return isChain(equationsOf(working, '+'), first, rest);
  },
};

const [task, data, ...tables] = process.argv.slice(2);
if (!Object.hasOwn(TASKS, task ?? '') || tables.length === 0) {
  console.error('usage: node working.mjs narrow|legs train.jsonl table.jsonl...');
  process.exit(2);
}
const rowsOf = (file) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const rows = new Map(rowsOf(data).map((row) => [row.id, row]));

const found = tables.map((file) => {
  const lines = rowsOf(file).map((line) => ({ ...line, isRight: isRight(line) }));
  const count = (kept) => ({ right: kept.filter((line) => line.isRight).length, of: kept.length });
  const candidates = lines.filter(({ k }) => k >= 0);
  return {
    file,
    candidates: count(candidates),
    sound: count(candidates.filter(({ guard }) => guard === null)),
    chosen: count(candidates.filter(({ chosen }) => chosen)),
  };
});
for (const { file, ...shares } of found) {
  const parts = Object.entries(shares).map(([name, { right, of }]) => `${name} ${right}/${of}`);
  console.log(`${file}: right working: ${parts.join(', ')}`);
}
console.log(JSON.stringify(found));

function isRight({ id, rationale }) {
  const { instruction, answer } = rows.get(id);
  const all = [...rationale.matchAll(EQUATION)];
  const isTrue = all.every(([, a, sign, b, c]) => (sign === '+' ? Number(a) + Number(b) : a * b) === Number(c));
  return isTrue && all.at(-1)?.[4] === answer && TASKS[task](instruction, rationale);
}

function numbersOf(text) {
  return (text.match(/\d+/g) ?? []).map(Number);
}

function equationsOf(working, sign) {
  return [...working.matchAll(EQUATION)]
    .filter((equation) => equation[2] === sign)
    .map(([, a, , b]) => ({ a: Number(a), b: Number(b) }));
}

/** first + next, + next, ...: each sum begins with the last one's result. */
function isChain(equations, first, rest) {
  let sum = first;
  if (equations.length !== rest.length) return false;
  return equations.every(({ a, b }, i) => {
    const fits = a === sum && b === rest[i];
    sum += rest[i];
    return fits;
  });
}
