// The form that creates and edits a patient. A conflict with another change is shown as a comparison.

import type { TargetedEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Problem } from "../api/problem";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { navigate, redirect } from "../router";
import { text } from "../strings";
import { Page } from "../ui/page";
import { Notice, ProblemNotice } from "../ui/states";
import { announce } from "../ui/toast";
import { Conflict } from "./conflict";
import { drafts } from "./drafts";
import { FIELDS, toValues, type FieldName, type Values } from "./fields";
import { FormFields } from "./form-fields";
import { useFormState, useSaving, type FormState, type Saving } from "./form-state";
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

export function PatientForm({ patient, onSaved = insert }: Properties) {
  const state = useFormState(patient);
  const saving = useSaving();
  const back = patient ? `/patients/${patient.id}` : "/patients";

  const save = async (base: Patient | undefined, values: Values) => {
    const saved = await saving.save(base, values);
    if (!saved) return;
    onSaved(saved);
    announce(base ? text.form.saved : text.form.created);
    if (base) navigate(back);
    else redirect(`/patients/${saved.id}`);
  };
  const submit = () => {
    if (state.isChanged) return void save(state.base, state.values);
    drafts.delete(patient?.id ?? "");
    announce(text.form.unchanged);
    navigate(back);
  };
  const resolve = (theirs: Patient, values: Values) => {
    state.rebase(theirs, values);
    void save(theirs, values);
  };
  const discard = (theirs: Patient) => {
    state.reset();
    saving.clear();
    onSaved(theirs);
    navigate(back);
  };

  const { base, values } = state;
  const { busy, theirs } = saving;
  if (theirs && base) {
    const versions = { base: toValues(base), theirs: toValues(theirs), mine: values };
    return (
      <Page title={text.conflict.title} back={back}>
        <Conflict {...versions} busy={busy} onSave={(wanted) => resolve(theirs, wanted)} onDiscard={() => discard(theirs)} />
      </Page>
    );
  }
  return (
    <Page title={patient ? text.form.editTitle : text.form.createTitle} back={back}>
      <Form state={state} saving={saving} back={back} onSubmit={submit} />
    </Page>
  );
}

interface FormProperties {
  state: FormState;
  saving: Saving;
  back: string;
  onSubmit: () => void;
}

function Form({ state, saving, back, onSubmit }: FormProperties) {
  const { problem, busy } = saving;
  const errors = problem ? { ...problem.fields, ...TAKEN[problem.reason] } : {};
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [problem]);
  const submit = (event: TargetedEvent<HTMLFormElement>) => {
    event.preventDefault();
    onSubmit();
  };
  const reset = () => {
    state.reset();
    saving.clear();
  };
  return (
    <form ref={form} class="card form" onSubmit={submit} noValidate>
      {state.restored && (
        <Notice kind="info">
          {text.form.draft}{" "}
          <button type="button" class="link" onClick={reset}>
            {text.form.discard}
          </button>
        </Notice>
      )}
      {problem && <Summary problem={problem} errors={errors} />}
      <FormFields values={state.values} errors={errors} isNew={!state.base} onChange={state.change} />
      <div class="actions">
        <a class="button" href={`#${back}`}>
          {text.cancel}
        </a>
        <button type="submit" class="primary" disabled={busy}>
          {state.base ? text.form.save : text.form.create}
        </button>
      </div>
    </form>
  );
}

function Summary({ problem, errors }: { problem: Problem; errors: Record<string, string | undefined> }) {
  const shown = FIELDS.filter((name) => errors[name]).length;
  if (shown === 0) return <ProblemNotice title={text.form.failed} problem={problem} />;
  return <Notice kind="error">{text.form.invalid(shown)}</Notice>;
}
