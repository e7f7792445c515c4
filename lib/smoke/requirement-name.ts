/** The form in which requirements are named on a command line: 'memory attributes' is 'memory-attributes'. */
export function requirementKey(name: string): string {
  return name.toLowerCase().replace(/[\s_]+/g, '-');
}

/** Whether a requirement is one of those named. */
export function meets(name: string, wanted: readonly string[]): boolean {
  return wanted.some((one) => requirementKey(one) === requirementKey(name));
}
