/**
 * Which copy of the Temporal SDK srlm runs with. The SDK keeps what a worker does in variables of its modules: with a
 * second copy, workflow tasks fail and are repeated without end, and activities do not know that they are activities.
 * So whatever a user's code hands over (a client, a connection, a worker) must be of the copy that srlm resolves.
 * Reads package.json files and the cache of `require`; loads only packages whose objects it is given.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { sdkTwice, sdkUnsupported } from '../contracts/errors.js';

/** The first of 1.x with all that is used of it (a data converter's context; before 1.16, no version of the next round). */
export const LOWEST_SDK = '1.18.0';

/** Properties are those of Temporal's WorkerOptions, so that a plugin can pass these on as they are. */
export interface FromUser {
  client?: object | undefined;
  connection?: object | undefined;
  worker?: object | undefined;
  workflowsPath?: string | undefined;
}

interface Copy {
  version: string;
  folder: string;
}

/** What a worker loads by itself and srlm's code imports, too. */
const SHARED = ['@temporalio/common', '@temporalio/activity', '@temporalio/workflow'];

const own = createRequire(__filename);

/** Throws temporal.sdk, before anything is started. */
export function checkSdk({ client, connection, worker, workflowsPath }: FromUser): void {
  if (client) checkObject(client, '@temporalio/client', 'Client');
  if (connection) checkObject(connection, '@temporalio/worker', 'NativeConnection');
  if (worker) checkObject(worker, '@temporalio/worker', 'Worker');
  if (!connection && !worker && !workflowsPath) return;
  const ofWorker = createRequire(own.resolve('@temporalio/worker'));
  for (const name of SHARED) checkSame(name, ofWorker);
  // It may only export `srlm/workflows`, and then has no use for an SDK of its own.
  if (workflowsPath) checkSame('@temporalio/workflow', createRequire(workflowsPath));
}

/** A class of the same name that is not ours is another copy's; what has no such class is the user's own substitute. */
function checkObject(object: object, name: string, className: string): void {
  const ours = ownCopy(name);
  const OurClass = own(name)[className];
  if (!(object instanceof OurClass)) {
    const TheirClass = classesOf(object).find((each) => each.name === className);
    if (TheirClass) throw sdkTwice(name, shown(loadedCopy(name, TheirClass)), shown(ours));
  }
  const [major = 0, minor = 0] = ours.version.split('.').map(Number);
  const [lowestMajor, lowestMinor = 0] = LOWEST_SDK.split('.').map(Number);
  if (major !== lowestMajor || minor < lowestMinor) throw sdkUnsupported(name, shown(ours), LOWEST_SDK);
}

function checkSame(name: string, other: NodeJS.Require): void {
  let theirs: string;
  try {
    theirs = other.resolve(name);
  } catch {
    return; // There is no second copy where there is none at all.
  }
  if (theirs !== own.resolve(name)) throw sdkTwice(name, shown(copyAt(theirs, name)), shown(ownCopy(name)));
}

/** Its own class first, then those that this one extends. */
function classesOf(object: object): object['constructor'][] {
  const prototype: object | null = Object.getPrototypeOf(object);
  return prototype ? [prototype.constructor, ...classesOf(prototype)] : [];
}

/** The version of the copy that srlm resolves. */
export const versionOf = (name: string): string => ownCopy(name).version;

const ownCopy = (name: string): Copy => copyAt(own.resolve(name), name);

/** The copy whose module exports this class; none where modules are not loaded by Node (a test runner's registry). */
function loadedCopy(name: string, exported: object['constructor']): Copy | undefined {
  const modules = Object.entries(own.cache).filter(([file]) => inPackage(name).test(file));
  const found = modules.find(([, module]) => module?.exports?.[exported.name] === exported);
  return found && copyAt(found[0], name);
}

function copyAt(file: string, name: string): Copy {
  const folder = inPackage(name).exec(file)?.[0] ?? file;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { version: string };
  return { version, folder };
}

const inPackage = (name: string): RegExp => new RegExp(`^.*[\\\\/]${name.replace('/', '[\\\\/]')}(?=[\\\\/])`);

const shown = (copy: Copy | undefined): string => (copy ? `${copy.version} (${copy.folder})` : 'another copy');
