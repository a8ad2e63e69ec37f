/**
 * What workflow code must know of the deployment. It is apart from it because every workflow evaluates the schemas that it
 * imports when it begins and when it is replayed.
 */
import { z } from 'zod';

/** Part of many payloads of a history. Temporal keeps names that begin with a slash for itself. */
export const QueueName = z
  .string()
  .min(1)
  .max(80)
  .refine((name) => !name.startsWith('/'), 'a name cannot begin with a slash');
/** Temporal counts them in 32 bits. */
export const MaxAttempts = z.int().min(1).max(1_000_000);
export const HeartbeatSeconds = z.number().min(1).max(3600);

export const WorkflowConfig = z.strictObject({
  cpuQueue: QueueName,
  gpuQueue: QueueName,
  /** GPU hosts have queues of their own: NAME-gpu@HOST. False in runs of earlier releases. */
  hostQueues: z.boolean(),
  heartbeatSeconds: HeartbeatSeconds,
  shardsInFlight: z.int().min(1).max(200),
  maxAttempts: MaxAttempts,
  /** The cluster knows our search attributes, so workflow code may set them. */
  searchAttributes: z.boolean(),
  /** The next execution of a run may use newer workflow code than the one before it. */
  upgrades: z.boolean(),
});
export type WorkflowConfig = z.infer<typeof WorkflowConfig>;
