/**
 * How many times longer something may take than on the machines that the limits of tests are made for: processors of lab
 * machines are emulated. GMEM_TEST_SLOWNESS, or 1.
 */
export const slowness = Number(process.env['GMEM_TEST_SLOWNESS'] ?? 1);
