/** Writes the second task of the study.  Usage: node examples/study/legs.mjs OUT_DIR [--seed 0]
 *
 *  Counting the legs of three kinds of animals, after `leg_counting` of reasoning-gym: a word problem that takes knowledge
 *  of each animal, three products and two sums, where the demo's task takes sums alone. SmolLM2-135M fails it as it is, and
 *  learns the working from 32 catalysts. demo/write-task.mjs says what it writes. */
import { writeTask } from '../../demo/write-task.mjs';

const LEGS = { spider: 8, ant: 6, bee: 6, dog: 4, cat: 4, cow: 4, hen: 2, duck: 2, crab: 10, snail: 1 };

/** "4 hen 4*2=8, 5 snail 5*1=5, 5 spider 5*8=40; 8+5=13, 13+40=53." */
function workOut(animals) {
  const products = animals.map(({ name, count }) => count * LEGS[name]);
  let sum = products[0];
  const sums = products.slice(1).map((product) => {
    const before = sum;
    sum += product;
    return `${before}+${product}=${sum}`;
  });
  const parts = animals.map(({ name, count }) => `${count} ${name} ${count}*${LEGS[name]}=${count * LEGS[name]}`);
  return { working: `${parts.join(', ')}; ${sums.join(', ')}.`, answer: String(sum) };
}

writeTask({
  counts: { train: 150, catalysts: 32, evaluation: 200 },
  short: ['Add the legs.', 'Just count all the legs.', 'Count the legs.'],
  ask(pick) {
    const names = [];
    while (names.length < 3) {
      const name = pick(Object.keys(LEGS));
      if (!names.includes(name)) names.push(name);
    }
    const animals = names.map((name) => ({ name, count: pick([2, 3, 4, 5]) }));
    const [first, second, third] = animals.map(({ name, count }) => `${count} ${name}s`);
    return { question: `How many legs do ${first}, ${second} and ${third} have?`, ...workOut(animals) };
  },
});
