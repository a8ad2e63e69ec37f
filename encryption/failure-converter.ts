/**
 * Puts message and stack trace of a failure into a payload, which the codec encrypts. A module of its own: Temporal's SDK
 * loads it by its path, and bundles it with the workflows.
 */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
