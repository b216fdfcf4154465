// Reads of one patient.

import { patients } from "../api/clients";
import { reasonOf } from "../api/problem";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";

/** Returns a patient. A deleted or merged patient is returned as of its last revision. */
export async function loadPatient(id: string, signal?: AbortSignal): Promise<Patient> {
  const options = signal ? { signal } : {};
  try {
    const found = await patients.getPatient({ id }, options);
    if (found.id === id.toLowerCase()) return found; // the ID of a merged patient returns another one
  } catch (error) {
    if (reasonOf(error) !== "PATIENT_NOT_FOUND") throw error;
  }
  const { revisions } = await patients.listPatientRevisions({ id, pageSize: 1 }, options);
  return revisions[0]!.patient!;
}
