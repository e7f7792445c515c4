export function nameOf(file: string): string;
