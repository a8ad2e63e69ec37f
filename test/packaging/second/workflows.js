export * from 'srlm/workflows';
