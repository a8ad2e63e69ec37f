/** The JSON Schema of spec.json, by which python/jobfolder.py checks what it reads. `npm run build` writes it there. */
import { z } from 'zod';
import { TrainingJob } from '../contracts/training.js';

/** The whole text of python/training-job.schema.json. Without defaults: every field of a spec.json is set. */
export const jobSchemaText = (): string => {
  const schema = z.toJSONSchema(TrainingJob, {
    override: ({ jsonSchema }) => {
      delete jsonSchema.default;
    },
  });
  return `${JSON.stringify(schema, null, 2)}\n`;
};
