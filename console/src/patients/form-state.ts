// The state of the form of a patient: its values, and the result of saving them.

import { useState } from "preact/hooks";
import { patients } from "../api/clients";
import { toProblem, type Problem } from "../api/problem";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { drafts } from "./drafts";
import { changedFields, EMPTY, toPatient, toValues, type FieldName, type Values } from "./fields";
import { loadPatient } from "./load";

export interface FormState {
  /** The patient as it was when the form was opened. Not set for a new patient. */
  base: Patient | undefined;
  values: Values;
  /** Whether the values are those of a draft. */
  restored: boolean;
  isChanged: boolean;
  change: (name: FieldName, value: string) => void;
  reset: () => void;
  rebase: (base: Patient, values: Values) => void;
}

/** Returns the values of the form. Changes are kept as a draft until they are saved or reset. */
export function useFormState(patient: Patient | undefined): FormState {
  const key = patient?.id ?? "new";
  const initial = { base: patient, values: patient ? toValues(patient) : EMPTY };
  const [state, setState] = useState(() => ({ ...(drafts.get(key) ?? initial), restored: drafts.has(key) }));
  return {
    ...state,
    isChanged: !state.base || changedFields(toValues(state.base), state.values).length > 0,
    change: (name, value) => {
      const values = { ...state.values, [name]: value };
      drafts.set(key, { base: state.base, values });
      setState({ ...state, values });
    },
    reset: () => {
      drafts.delete(key);
      setState({ ...initial, restored: false });
    },
    rebase: (base, values) => setState({ base, values, restored: false }),
  };
}

export interface Saving {
  busy: boolean;
  problem: Problem | undefined;
  /** The current version of the patient, if it changed after the form was opened. */
  theirs: Patient | undefined;
  save: (base: Patient | undefined, values: Values) => Promise<Patient | undefined>;
  clear: () => void;
}

export function useSaving(): Saving {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const [theirs, setTheirs] = useState<Patient>();
  const [requestId] = useState(randomId);

  const explain = async (error: unknown, base: Patient | undefined) => {
    const found = toProblem(error);
    setProblem(found);
    if (found.reason !== "ETAG_MISMATCH" || !base) return;
    await loadPatient(base.id).then(setTheirs, (failure: unknown) => setProblem(toProblem(failure)));
  };
  const save = async (base: Patient | undefined, values: Values) => {
    setBusy(true);
    setTheirs(undefined);
    try {
      const saved = await (base ? updatePatient(base, values) : createPatient(values, requestId));
      drafts.delete(base?.id ?? "new");
      return saved;
    } catch (error) {
      await explain(error, base);
      setBusy(false);
      return undefined;
    }
  };
  const clear = () => {
    setProblem(undefined);
    setTheirs(undefined);
  };
  return { busy, problem, theirs, save, clear };
}

function createPatient(values: Values, requestId: string): Promise<Patient> {
  return patients.createPatient({ patient: toPatient(values), requestId });
}

function updatePatient(base: Patient, values: Values): Promise<Patient> {
  const paths = changedFields(toValues(base), values);
  return patients.updatePatient({
    patient: { ...toPatient(values), id: base.id, etag: base.etag },
    updateMask: { paths },
  });
}

/** Returns a random identifier. Unlike crypto.randomUUID, it is available on pages without TLS. */
function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
