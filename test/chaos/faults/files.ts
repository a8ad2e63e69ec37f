/**
 * Files that are damaged: chunks, the objects that list them, inputs of steps, records, models, uploads, files of jobs,
 * checkpoints, exports, files of model servers.
 */
import { existsSync, readdirSync } from 'node:fs';
import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChaosHarness, signal } from '../chaos-harness.js';
import { anywhere, type Draw, type Kind, type Moment, serving, training } from './fault.js';

const DAMAGES = ['truncated', 'altered', 'zeroed', 'deleted'] as const;
type Damage = (typeof DAMAGES)[number];

/** Any number, for a choice among things that do not exist yet. */
const choice = (draw: Draw) => draw.whole(0, 2 ** 20);

/** A fault that damages the file that `find` gives. */
function damaged(
  moment: Moment,
  damage: Damage,
  at: number,
  find: (chaos: ChaosHarness) => Promise<string | null | undefined>,
): ReturnType<Kind> {
  return {
    moment,
    detail: damage,
    rerun: true,
    inject: async (chaos) => {
      const path = await find(chaos);
      return path && (await spoil(path, damage, at)) ? Date.now() : null;
    },
  };
}

/** A chunk that the run has yet to read: examples or questions while the first round trains, else candidates. */
const chunkDamaged =
  (damage: Damage): Kind =>
  (draw) => {
    const which = choice(draw);
    const moment = whileUnread(draw);
    const find = async ({ stored }: ChaosHarness) => pick((await stored.unread()).chunks, which);
    return { ...damaged(moment, damage, choice(draw), find), detail: '' };
  };

const listDamaged: Kind = (draw) => {
  const which = choice(draw);
  const find = async ({ stored }: ChaosHarness) => pick((await stored.unread()).lists, which);
  return damaged(whileUnread(draw), draw.one(DAMAGES), choice(draw), find);
};

const whileUnread = (draw: Draw): Moment =>
  draw.one([
    { in: 'training', round: 0, steps: draw.whole(0, 20) },
    { in: 'sampling', requests: draw.whole(5, 18) },
  ]);

/** While its shards are at work: the assembly reads it again. */
const stepInputDamaged: Kind = (draw) => {
  const moment: Moment = draw.one([
    { in: draw.one(['sampling', 'logprob'] as const), requests: draw.whole(1, 14) },
    { in: draw.one(['evaluation 0', 'evaluation 1'] as const), requests: draw.whole(1, 4) },
  ]);
  return damaged(moment, draw.one(DAMAGES), choice(draw), ({ stored }) => stored.stepInput());
};

/** The table of round 0, to which round 1 is added. */
const roundTableDamaged: Kind = (draw) => {
  const moment: Moment = draw.one([
    { in: draw.one(['sampling', 'logprob'] as const), requests: draw.whole(1, 18) },
    { in: 'training', round: 1, steps: draw.whole(0, 28) },
  ]);
  return damaged(moment, draw.one(DAMAGES), choice(draw), ({ stored }) => stored.roundTable());
};

/** Only the client can bring the texts of the spec back: the run parks until somebody starts the same spec again. */
const specTextsDamaged: Kind = (draw) =>
  damaged(anywhere(draw), draw.one(DAMAGES), choice(draw), ({ stored }) => stored.specTexts());

/** The stored copy of a user's file, and a chunk that has to be made of it again. */
const uploadDamaged: Kind = (draw) => {
  const [kind, damage, at, which] = [
    draw.one(['questions', 'catalysts'] as const),
    draw.one(DAMAGES),
    choice(draw),
    choice(draw),
  ];
  return {
    moment: { in: 'training', round: 0, steps: draw.whole(0, 20) },
    detail: `${kind}, ${damage}`,
    rerun: true,
    inject: async ({ stored }) => {
      const [source] = await stored.ingested(kind);
      const chunk = source && pick((await stored.of([source.dataset])).chunks, which);
      if (!chunk || !(await spoil(stored.path('file', source.file), damage, at))) return null;
      return (await spoil(chunk, damage, at)) ? Date.now() : null;
    },
  };
};

const recordDamaged =
  (damage: Damage): Kind =>
  (draw) => {
    const which = choice(draw);
    const find = async ({ harness }: ChaosHarness) => {
      const root = join(harness.artifactRoot, 'steps');
      const all = existsSync(root) ? readdirSync(root, { recursive: true }).map(String) : [];
      // The record of a chunk is not read again once its step is assembled.
      const names = all.filter((name) => name.endsWith('.json') && !name.includes('-chunk/')).sort();
      const name = pick(names, which);
      return name && join(root, name);
    };
    return { ...damaged(anywhere(draw), damage, choice(draw), find), detail: '' };
  };

/** The record of a chunk, while the other chunks of its step are still being made. */
const chunkRecordDamaged: Kind = (draw) => {
  const which = choice(draw);
  const find = async ({ stored }: ChaosHarness) => {
    const records = await stored.unfinishedChunks();
    const record = pick(records, which);
    return record && records.length <= 4 ? stored.recordPath(record) : null;
  };
  const moment: Moment = { in: 'sampling', requests: draw.whole(5, 14) };
  return damaged(moment, draw.one(DAMAGES), choice(draw), find);
};

/**
 * The weights of round 0. Not altered: a model that nobody loads again is looked at by its size only, which is by design.
 */
const modelDamaged: Kind = (draw) => {
  const moment: Moment = { in: draw.one(['sampling', 'logprob'] as const), requests: draw.whole(1, 18) };
  const find = async ({ harness }: ChaosHarness) => {
    const [name] = readdirSync(join(harness.artifactRoot, 'models'));
    return name && join(harness.artifactRoot, 'models', name, 'model.safetensors');
  };
  return damaged(moment, draw.one(['truncated', 'deleted']), choice(draw), find);
};

/** A file of a training, as a power failure leaves it: the trainer and its worker are gone, too. */
const jobFileDamaged: Kind = (draw) => {
  const name = draw.one(['spec.json', 'train.jsonl', 'state.json', 'progress.json', 'owner.json']);
  const [damage, at] = [draw.one(DAMAGES), choice(draw)];
  return {
    moment: training(draw),
    detail: `${name}, ${damage}`,
    inject: (chaos) => afterPowerFailure(chaos, (job) => spoil(join(job, name), damage, at)),
  };
};

/** A file of the newest checkpoint: the training continues from the one before. */
const checkpointDamaged: Kind = (draw) => {
  const [damage, at, which] = [draw.one(DAMAGES), choice(draw), choice(draw)];
  return {
    moment: { in: 'training', round: draw.one([0, 1]), steps: draw.whole(11, 28) },
    detail: damage,
    inject: (chaos) =>
      afterPowerFailure(chaos, async (job) => {
        const [newest] = readdirSync(join(job, 'checkpoints')).sort((a, b) => stepOf(b) - stepOf(a));
        const folder = newest && join(job, 'checkpoints', newest);
        // A trainer that was killed as it began one leaves an empty folder.
        const file = folder && pick(readdirSync(folder).sort(), which);
        return file ? spoil(join(folder, file), damage, at) : false;
      }),
  };
};

const stepOf = (checkpoint: string) => Number(checkpoint.split('-')[1]);

async function afterPowerFailure(chaos: ChaosHarness, spoils: (job: string) => Promise<boolean>) {
  const job = chaos.harness.trainer()?.folder;
  if (!job) return null;
  await chaos.harness.killWorker();
  for (const pid of chaos.trainers()) signal(pid, 'SIGKILL');
  const isSpoilt = await spoils(job);
  const since = Date.now();
  await chaos.startWorker();
  return isSpoilt ? since : null;
}

/** A file by which the model server is found: after a power failure, or while the server and its worker are at work. */
const serverFileDamaged: Kind = (draw) => {
  const name = draw.one(['token', 'server.json', 'lock']);
  const [damage, at, isAlive] = [draw.one(DAMAGES), choice(draw), draw.one([true, false])];
  return {
    moment: serving(draw),
    detail: `${name}, ${damage}${isAlive ? '' : ', the server and its worker killed'}`,
    // A worker that finds its server's token gone ends the server under the feet of its other shards.
    interrupts: 2,
    inject: async (chaos) => {
      if (!isAlive) {
        await chaos.harness.killWorker();
        for (const pid of chaos.servers()) signal(pid, 'SIGKILL');
      }
      const servers = join(chaos.harness.folder, 'work/servers');
      const spoilt: boolean[] = [];
      for (const server of readdirSync(servers)) spoilt.push(await spoil(join(servers, server, name), damage, at));
      const since = Date.now();
      if (!isAlive) await chaos.startWorker();
      return spoilt.includes(true) ? since : null;
    },
  };
};

/** An execution's history, which the last export writes again. */
const exportDamaged: Kind = (draw) => {
  const moment: Moment = draw.one([
    { in: draw.one(['sampling', 'logprob'] as const), requests: draw.whole(1, 18) },
    { in: 'training', round: 1, steps: draw.whole(0, 20) },
  ]);
  return damaged(moment, draw.one(DAMAGES), choice(draw), async ({ harness }) => {
    const root = join(harness.artifactRoot, 'audit');
    const names = existsSync(root) ? readdirSync(root, { recursive: true }).map(String) : [];
    const history = names.find((name) => name.includes('/histories/') && name.endsWith('.json'));
    return history && join(root, history);
  });
};

const pick = <T>(list: readonly T[], which: number): T | undefined => list[which % list.length];

/** false: there is no such file, or nothing in it. */
async function spoil(path: string, damage: Damage, at: number): Promise<boolean> {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size === 0) return false;
  if (damage === 'deleted') await rm(path);
  else if (damage === 'truncated') await truncate(path, at % size);
  else if (damage === 'zeroed') await writeFile(path, Buffer.alloc(size));
  else {
    const content = await readFile(path);
    content[at % size]! ^= 1;
    await writeFile(path, content);
  }
  return true;
}

export const FILE_FAULTS: Record<string, Kind> = {
  ...Object.fromEntries(DAMAGES.map((damage) => [`chunk ${damage}`, chunkDamaged(damage)])),
  'dataset index damaged': listDamaged,
  'step input damaged': stepInputDamaged,
  'round table damaged': roundTableDamaged,
  'spec texts damaged': specTextsDamaged,
  'uploaded file damaged': uploadDamaged,
  'record truncated': recordDamaged('truncated'),
  'record deleted': recordDamaged('deleted'),
  'record altered': recordDamaged('altered'),
  'record of a chunk damaged': chunkRecordDamaged,
  'model damaged': modelDamaged,
  'job file damaged': jobFileDamaged,
  'checkpoint damaged': checkpointDamaged,
  'model server file damaged': serverFileDamaged,
  'export damaged': exportDamaged,
};
