// The stream of changes. It continues where it ended, after an interruption and after the view was closed.

import { effect, signal } from "@preact/signals";
import { patients } from "../api/clients";
import { markOffline, offline } from "../api/connection";
import { isUnreachable, reasonOf } from "../api/problem";
import { refresh, user } from "../api/session";
import type { Revision } from "../gen/pulsetrack/patient/v1/patient_pb";
import { update } from "../patients/store";

const MOST_CHANGES = 200;
const RETRY_MILLISECONDS = 2_000;

export const changes = signal<Revision[]>([]);
export const connected = signal(false);

let resumeToken = "";

/** Receives changes until it is aborted. */
export async function watch(abort: AbortSignal): Promise<void> {
  while (!abort.aborted) {
    try {
      for await (const message of patients.watchPatients({ resumeToken }, { signal: abort, timeoutMs: 0 })) {
        connected.value = true;
        resumeToken = message.resumeToken;
        if (message.revision) add(message.revision);
      }
    } catch (error) {
      if (reasonOf(error) === "RESUME_TOKEN_INVALID") resumeToken = "";
      if (reasonOf(error) === "TOKEN_INVALID") await refresh().catch(() => undefined); // ends the session if it fails
      if (!abort.aborted && isUnreachable(error)) markOffline();
    }
    connected.value = false;
    await pause(abort);
  }
}

function add(revision: Revision): void {
  changes.value = [revision, ...changes.value].slice(0, MOST_CHANGES);
  if (revision.patient) update(revision.patient);
}

/** Waits before the next attempt, and until the gateway can be reached. */
function pause(abort: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    abort.addEventListener("abort", () => resolve());
    const wait = () => setTimeout(() => (offline.value && !abort.aborted ? wait() : resolve()), RETRY_MILLISECONDS);
    wait();
  });
}

effect(() => {
  if (user.value) return;
  changes.value = [];
  resumeToken = "";
});
