import { defineConfig } from 'srlm';

export default defineConfig({
  taskQueue: 'packaging-cli',
  engines: {
    teacher: { kind: 'endpoint', baseUrl: process.env.TEACHER_URL ?? '', model: 'teacher' },
  },
});
