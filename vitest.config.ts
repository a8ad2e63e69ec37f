import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/temporal-server.ts'],
    // Two cores: files that start engines would only wait for each other.
    maxWorkers: 2,
    // Scenarios of test/workflows are waiting most of the time.
    maxConcurrency: 50,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
