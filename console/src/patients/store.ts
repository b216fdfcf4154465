// The list of patients and its filters. They survive while another view is open, and end with the session.

import { effect, signal } from "@preact/signals";
import { patients } from "../api/clients";
import { Pages } from "../api/pages";
import { user } from "../api/session";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";

const PAGE_SIZE = 50;

export interface Filters {
  query: string;
  sex: number;
  showDeleted: boolean;
  orderBy: string;
}

export const NO_FILTERS: Filters = { query: "", sex: 0, showDeleted: false, orderBy: "" };

export const filters = signal(NO_FILTERS);
/** The vertical position of the list when it was last left. */
export const scroll = { top: 0 };

export const list = new Pages<Patient>(async (pageToken, signal) => {
  const page = await patients.listPatients({ ...filters.value, pageSize: PAGE_SIZE, pageToken }, { signal });
  return { items: page.patients, nextPageToken: page.nextPageToken };
});

/** Replaces a patient in the list. Created patients are put first. */
export function update(patient: Patient): void {
  const items = list.items.value;
  const isListed = items.some((each) => each.id === patient.id);
  list.items.value = isListed ? items.map((each) => (each.id === patient.id ? patient : each)) : [patient, ...items];
}

effect(() => {
  if (user.value) return;
  list.stop();
  list.items.value = [];
  list.loaded.value = false;
  filters.value = NO_FILTERS;
});
