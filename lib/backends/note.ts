import type { ObjectOptions, PropertyRow } from './properties.ts';

/** Something that was asked for and came out otherwise without being an error. */
export interface BackendNote {
  /** 'ignored': accepted and without effect; 'fallback': done in another way. */
  readonly kind: 'ignored' | 'fallback';
  /** The property that it is about. */
  readonly property: Exclude<keyof ObjectOptions, 'id'> | PropertyRow['name'];
  readonly message: string;
}
