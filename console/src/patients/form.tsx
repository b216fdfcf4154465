// The form that creates and edits a patient. A conflict with another change is shown as a comparison.

import type { TargetedEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { patients } from "../api/clients";
import { toProblem, type Problem } from "../api/problem";
import { randomId } from "../format";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { navigate, redirect } from "../router";
import { text } from "../strings";
import { Page } from "../ui/page";
import { Notice, ProblemNotice } from "../ui/states";
import { announce } from "../ui/toast";
import { Conflict } from "./conflict";
import { drafts } from "./drafts";
import { changedFields, EMPTY, FIELDS, toPatient, toValues, type FieldName, type Values } from "./fields";
import { FormFields } from "./form-fields";
import { loadPatient } from "./load";
import { insert } from "./store";

const TAKEN: Record<string, Partial<Record<FieldName, string>>> = {
  EMAIL_ALREADY_EXISTS: { email: text.form.emailTaken },
  RECORD_NUMBER_ALREADY_EXISTS: { medical_record_number: text.form.numberTaken },
};

interface Properties {
  /** The patient to edit. Not set to create one. */
  patient?: Patient;
  onSaved?: (patient: Patient) => void;
}

export function PatientForm({ patient, onSaved }: Properties) {
  const key = patient?.id ?? "new";
  const [draft] = useState(() => drafts.get(key));
  const [restored, setRestored] = useState(draft !== undefined);
  const [base, setBase] = useState(draft ? draft.base : patient);
  const [values, setValues] = useState(draft?.values ?? (patient ? toValues(patient) : EMPTY));
  const [problem, setProblem] = useState<Problem>();
  const [theirs, setTheirs] = useState<Patient>();
  const [busy, setBusy] = useState(false);
  const [requestId] = useState(randomId);
  const form = useRef<HTMLFormElement>(null);
  const errors = problem ? { ...problem.fields, ...TAKEN[problem.reason] } : {};
  const back = patient ? `/patients/${patient.id}` : "/patients";

  useEffect(() => {
    form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [problem]);

  const change = (name: FieldName, value: string) => {
    const changed = { ...values, [name]: value };
    setValues(changed);
    drafts.set(key, { base, values: changed });
  };
  const reset = () => {
    drafts.delete(key);
    setBase(patient);
    setValues(patient ? toValues(patient) : EMPTY);
    setTheirs(undefined);
    setRestored(false);
    setProblem(undefined);
  };
  const save = async (from: Patient | undefined, wanted: Values) => {
    setBusy(true);
    try {
      const saved = await (from ? updatePatient(from, wanted) : createPatient(wanted, requestId));
      drafts.delete(key);
      (onSaved ?? insert)(saved);
      announce(patient ? text.form.saved : text.form.created);
      if (patient) navigate(`/patients/${saved.id}`);
      else redirect(`/patients/${saved.id}`);
    } catch (error) {
      await explain(error);
      setBusy(false);
    }
  };
  const explain = async (error: unknown) => {
    const found = toProblem(error);
    setProblem(found);
    if (found.reason !== "ETAG_MISMATCH" || !patient) return;
    await loadPatient(patient.id).then(setTheirs, (failure: unknown) => setProblem(toProblem(failure)));
  };
  const submit = (event: TargetedEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (base && changedFields(toValues(base), values).length === 0) {
      drafts.delete(key);
      announce(text.form.unchanged);
      return navigate(back);
    }
    void save(base, values);
  };

  const title = patient ? text.form.editTitle : text.form.createTitle;
  if (theirs && base) {
    const discard = () => {
      reset();
      onSaved?.(theirs);
      navigate(back);
    };
    return (
      <Page title={text.conflict.title} back={back}>
        <Conflict
          base={toValues(base)}
          theirs={toValues(theirs)}
          mine={values}
          busy={busy}
          onSave={(wanted) => {
            setBase(theirs);
            setValues(wanted);
            setTheirs(undefined);
            void save(theirs, wanted);
          }}
          onDiscard={discard}
        />
      </Page>
    );
  }
  return (
    <Page title={title} back={back}>
      <form ref={form} class="card form" onSubmit={submit} noValidate>
        {restored && (
          <Notice kind="info">
            {text.form.draft}{" "}
            <button type="button" class="link" onClick={reset}>
              {text.form.discard}
            </button>
          </Notice>
        )}
        {problem && <Summary problem={problem} errors={errors} />}
        <FormFields values={values} errors={errors} isNew={!patient} onChange={change} />
        <div class="actions">
          <a class="button" href={`#${back}`}>
            {text.cancel}
          </a>
          <button type="submit" class="primary" disabled={busy}>
            {patient ? text.form.save : text.form.create}
          </button>
        </div>
      </form>
    </Page>
  );
}

function Summary({ problem, errors }: { problem: Problem; errors: Record<string, string | undefined> }) {
  const shown = FIELDS.filter((name) => errors[name]).length;
  if (shown === 0) return <ProblemNotice title={text.form.failed} problem={problem} />;
  return <Notice kind="error">{text.form.invalid(shown)}</Notice>;
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
