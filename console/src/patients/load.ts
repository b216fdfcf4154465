// Reads of one patient.

import { patients } from "../api/clients";
import { reasonOf } from "../api/problem";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";

/** Returns a patient. A deleted patient is returned as of its last revision. */
export async function loadPatient(id: string, signal?: AbortSignal): Promise<Patient> {
  const options = signal ? { signal } : {};
  try {
    return await patients.getPatient({ id }, options);
  } catch (error) {
    if (reasonOf(error) !== "PATIENT_NOT_FOUND") throw error;
    const { revisions } = await patients.listPatientRevisions({ id, pageSize: 1 }, options);
    const last = revisions[0]?.patient;
    if (!last) throw error;
    return last;
  }
}
