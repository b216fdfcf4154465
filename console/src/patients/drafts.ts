// Unsaved changes of forms. They survive while another view is open, and end with the session.

import { effect } from "@preact/signals";
import { user } from "../api/session";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import type { Values } from "./fields";

export interface Draft {
  /** The patient as it was when the form was opened. Not set for a new patient. */
  base: Patient | undefined;
  values: Values;
}

export const drafts = new Map<string, Draft>();

effect(() => {
  if (!user.value) drafts.clear();
});
