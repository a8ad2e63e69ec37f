/**
 * Puts message and stack trace of a failure into a payload, which the codec encrypts. A module of its own, and CommonJS:
 * Temporal's SDK loads it by its path with `require`, and bundles it with the workflows.
 */
import common = require('@temporalio/common');

export = { failureConverter: new common.DefaultFailureConverter({ encodeCommonAttributes: true }) };
