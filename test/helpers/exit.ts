// Vitest ends its processes by SIGTERM, behind which gcov writes nothing of what the addon executed.
process.on('SIGTERM', () => process.exit());
