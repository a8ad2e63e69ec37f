/**
 * How a worker is named: by Temporal's own form, process@host, and the digests of the deployment config that it was started
 * with, so that a client can say which worker has another one. A worker with an identity of its user's says nothing.
 * Pure, but for the names of this process.
 */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import canonicalize from 'canonicalize';
import type { Deployment } from './deployment.js';

/** What of an engine or a trainer a host may have of its own. */
const OF_HOST = ['device', 'dtype', 'threads', 'maxBatch', 'concurrency', 'timeoutSeconds', 'accelerateConfig'];

export interface ConfigDigests {
  /** The digest of what all hosts have alike: engines and trainers. */
  shared: string;
  /** The digest of what a client and a worker of one host have alike: also folders. */
  local: string;
}

type Machines = Deployment['engines'] | Deployment['trainers'];

export function configDigests({ engines, trainers, artifactRoot, modelRoots, python }: Deployment): ConfigDigests {
  const shared = { engines: withoutHost(engines), trainers: withoutHost(trainers) };
  return {
    shared: digest(shared),
    local: digest({ engines, trainers, artifactRoot, modelRoots, python: python ?? null }),
  };
}

const withoutHost = (machines: Machines) =>
  Object.fromEntries(
    Object.entries(machines).map(([name, one]) => [
      name,
      Object.fromEntries(Object.entries(one).filter(([field]) => !OF_HOST.includes(field))),
    ]),
  );

const digest = (value: unknown) => createHash('sha256').update(canonicalize(value)!).digest('hex').slice(0, 8);

export function workerIdentity(deployment: Deployment): string {
  const { shared, local } = configDigests(deployment);
  return `${process.pid}@${hostname()} config:${shared}-${local}`;
}

const FORM = /^((\d+)@(.+)) config:([0-9a-f]{8})-([0-9a-f]{8})$/;

/** null: the identity is another one, which says nothing of the config. */
export function readIdentity(
  identity: string,
): { name: string; pid: number; host: string; config: ConfigDigests } | null {
  const [, name, pid, host, shared, local] = FORM.exec(identity) ?? [];
  return name ? { name, pid: Number(pid), host: host!, config: { shared: shared!, local: local! } } : null;
}

/** The identity as it is shown. */
export const workerName = (identity: string): string => readIdentity(identity)?.name ?? identity;
