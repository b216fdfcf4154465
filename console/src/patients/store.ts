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

/** Replaces a patient in the list, if it is listed. */
export function update(patient: Patient): void {
  list.items.value = list.items.value.map((each) => (each.id === patient.id ? patient : each));
}

/** Puts a created patient first, where the user expects it even if the filters exclude it. */
export function insert(patient: Patient): void {
  list.items.value = [patient, ...list.items.value];
}

effect(() => {
  if (user.value) return;
  list.stop();
  list.items.value = [];
  list.loaded.value = false;
  filters.value = NO_FILTERS;
});
