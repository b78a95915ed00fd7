// Steps of a tour: each has an expected status, and the first wrong answer ends the tour.

import { randomUUID } from "node:crypto";

const SECONDS_TO_APPEAR = 30;

let passed = 0;

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Returns the body of an answer with this status. */
export async function expect<T>(step: string, status: number, call: Promise<Answer<T>>): Promise<NonNullable<T>> {
  const { data, error, response } = await call;
  check(step, response.status === status, `${response.status} instead of ${status}: ${JSON.stringify(error ?? data)}`);
  return data as NonNullable<T>;
}

/** Checks the status and the code of a problem document. */
export async function refused(step: string, status: number, code: string,
                              call: Promise<{ error?: { code: string }; response: Response }>): Promise<void> {
  const { error, response } = await call;
  check(step, response.status === status && error?.code === code, `${response.status} ${error?.code}`);
}

export function check(step: string, holds: boolean, found: unknown): void {
  if (!holds) {
    throw new Error(`${step}: ${typeof found === "string" ? found : JSON.stringify(found)}`);
  }
  passed += 1;
}

/** Asks again until the answer has what a consumer group writes in a moment. */
export async function eventually<T>(step: string, call: () => Promise<Answer<T>>,
                                    there: (data: NonNullable<T>) => boolean): Promise<NonNullable<T>> {
  const deadline = Date.now() + SECONDS_TO_APPEAR * 1000;
  for (;;) {
    const { data, error, response } = await call();
    if (response.ok && data && there(data)) {
      passed += 1;
      return data;
    }
    if (Date.now() > deadline) {
      throw new Error(`${step}: not within ${SECONDS_TO_APPEAR} s: ${response.status} ${JSON.stringify(error ?? data)}`);
    }
    await new Promise((resume) => setTimeout(resume, 200));
  }
}

/** Parameters of a request with an Idempotency-Key. */
export function key() {
  return { header: { "Idempotency-Key": randomUUID() } };
}

/** Runs a tour, prints `N passed, N failed`, and sets the exit code. */
export async function run(tour: () => Promise<void>): Promise<void> {
  let failed = 0;
  try {
    await tour();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    failed = 1;
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed);
}
